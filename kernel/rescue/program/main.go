// Command program is the part of procdump that the crash kernel starts with: a
// third of procdump's size, which the crash kernel has to hold in its memory
// twice while it unpacks it. Procdump has it embedded; see package arm.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"procdump/kernel/rescue"
)

func main() {
	if !rescue.Active() {
		fmt.Fprintln(os.Stderr, "procdump's program for the crash kernel runs nowhere else; procdump kernel arm loads it")
		os.Exit(1)
	}
	// It is as old as the procdump that made the plan.
	var plan rescue.Plan
	if b, err := os.ReadFile(rescue.PlanFile); err == nil {
		json.Unmarshal(b, &plan)
	}
	rescue.Main(plan.Version)
}

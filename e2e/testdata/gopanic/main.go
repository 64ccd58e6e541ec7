// Gopanic panics in a goroutine.
package main

import "time"

//go:noinline
func inner(p *int) int { return *p + 1 }

//go:noinline
func outer(n int) int {
	if n == 0 {
		return inner(nil)
	}
	return outer(n-1) + 1
}

func main() {
	go func() { outer(5) }()
	time.Sleep(time.Minute)
}

package hang

import (
	"os"
	"testing"
	"time"
)

// BenchmarkDState is the cost of a look at a process of few threads.
func BenchmarkDState(b *testing.B) {
	d, err := OpenDState("", os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	for b.Loop() {
		if _, _, err := d.Check(time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

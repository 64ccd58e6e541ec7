//go:build linux

// Goroutines parked and running on several threads; one thread is locked to a
// goroutine blocked in a system call below a known chain of calls.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

//go:noinline
func blockInRead(fd int) int {
	var b [1]byte
	n, _ := syscall.Read(fd, b[:])
	return n
}

//go:noinline
func middle(fd int) int { return blockInRead(fd) + 1 }

//go:noinline
func lockedWorker(fd int) int {
	runtime.LockOSThread()
	return middle(fd) + 1
}

//go:noinline
func parked(ch chan int) int { return <-ch }

func main() {
	var nobody [2]int
	if err := syscall.Pipe(nobody[:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for range 3 {
		go lockedWorker(nobody[0])
	}
	ch := make(chan int)
	for range 100 {
		go parked(ch)
	}
	time.Sleep(100 * time.Millisecond)
	fmt.Println("ready goroutines=104")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println("alive")
	}
}

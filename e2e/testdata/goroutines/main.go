//go:build linux

// Goroutines in many states. It says "ready", and "trace" on its standard input
// makes it write what its runtime knows of all of them.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

type tree[T any] struct{ value T }

// walk calls itself, then f.
func (t *tree[T]) walk(depth int, f func()) {
	if depth == 0 {
		f()
		return
	}
	t.walk(depth-1, f)
	runtime.KeepAlive(t)
}

func inlined(ch chan int) int { return deeper(ch) + 1 }
func deeper(ch chan int) int  { return <-ch + 2 }

//go:noinline
func spin(stop *bool) {
	for n := 0; !*stop; n++ {
	}
}

// waiter is called through an interface.
type waiter interface{ wait() }
type onMutex struct{ m *sync.Mutex }

func (o onMutex) wait() { o.m.Lock() }

func main() {
	never := make(chan int)
	var mutex sync.Mutex
	mutex.Lock()
	var group sync.WaitGroup
	group.Add(1)
	cond := sync.NewCond(&sync.Mutex{})
	var nobody [2]int
	if err := syscall.Pipe(nobody[:]); err != nil {
		panic(err)
	}
	silent, _, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	for i := 0; i < 40; i++ { // as Go before 1.22 has it
		go inlined(never)
	}
	go func() { make(chan int) <- 1 }()
	go func() {
		select {
		case <-never:
		case <-time.After(time.Hour):
		}
	}()
	go func() { select {} }()
	go func() { <-(chan int)(nil) }()
	go time.Sleep(time.Hour)
	var w waiter = &onMutex{&mutex}
	go w.wait()
	go group.Wait()
	go func() { cond.L.Lock(); cond.Wait() }()
	go silent.Read(make([]byte, 1))
	go func() {
		runtime.LockOSThread()
		var b [1]byte
		syscall.Read(nobody[0], b[:])
	}()
	go new(tree[string]).walk(20, func() { <-never })
	go func() {
		defer func() { <-never }()
		panic(errors.New("a wrong turn"))
	}()
	if len(os.Args) > 1 && os.Args[1] == "spin" {
		go spin(new(bool))
	}
	time.Sleep(200 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		b := make([]byte, 1<<20)
		fmt.Printf("%s\nend\n", b[:runtime.Stack(b, true)])
	}
}

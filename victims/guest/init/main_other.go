//go:build !linux

package main

func main() { panic("this is the init of a Linux guest") }

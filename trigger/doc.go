// Package trigger holds the rules that turn samples and texts into dumps:
// thresholds that must hold for a time, filters of texts,
// limits on how often to fire, and the flight recorder that keeps the samples
// before a trigger.
//
// It is pure: it reads no clock and starts nothing. Every function that depends
// on time takes the time as an argument. Nothing here is safe for concurrent
// use; each state belongs to one goroutine.
package trigger

// Command procdump writes user-mode dumps of running processes.
package main

import (
	"os"

	"procdump/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }

package cli

import "os"

// verb is a first word that makes the rest a command line of its own.
type verb struct {
	word string
	run  func(args []string, out, errOut *os.File) int
}

// verbs are those of procdump. A process that has such a name is dumped by
// "procdump -mm NAME" or exe:PATH.
func verbs() []verb {
	return []verb{{kernelVerb, kernelMain}, {convertVerb, convertMain}, {inspectVerb, inspectMain}, {diffVerb, diffMain}}
}

// kernelVerbs are those of procdump kernel. A dump of such a name is ./NAME.
func kernelVerbs() []verb {
	return []verb{
		{armVerb, armMain}, {disarmVerb, disarmMain}, {statusVerb, statusMain}, {configVerb, configMain},
	}
}

// findVerb returns what the first of the words calls, or nil.
func findVerb(verbs []verb, args []string) func(args []string, out, errOut *os.File) int {
	if len(args) == 0 {
		return nil
	}
	for _, v := range verbs {
		if v.word == args[0] {
			return v.run
		}
	}
	return nil
}

// Package html writes the report on a process as one HTML file.
//
// The file needs nothing else: no network, no other file. What it says is in its
// markup, so that it can be read, searched and printed without its scripts;
// these add the search over all parts, the flame graph and the map of memory,
// which they draw from the markup.
//
// All that comes from the dump is escaped by html/template, and characters that
// cannot be seen, or that would turn the order of others round, are replaced. A
// policy in the file lets no script run but the report's own, whose digest it
// names, and nothing be loaded.
package html

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io"
	"unicode"

	"procdump/inspect"
	"procdump/render"
	"procdump/render/page"
)

//go:embed report.tmpl report.css *.js
var files embed.FS

// scripts are the parts of the report's script, in their order.
var scripts = []string{"page.js", "flame.js", "map.js"}

var report = template.Must(template.New("report.tmpl").Funcs(template.FuncMap{
	"size":         page.Size,
	"plural":       page.Plural,
	"duration":     render.Duration,
	"name":         render.ThreadName,
	"facts":        render.ThreadFacts,
	"percent":      percent,
	"allocator":    render.AllocatorSummary,
	"arenaThreads": render.ArenaThreads,
	"arenaFree":    render.ArenaFree,
	"arenaNotes":   render.ArenaNotes,
	"byShape":      func() string { return render.ByShape },
}).ParseFS(files, "report.tmpl"))

// Write writes the report as an HTML file.
func Write(w io.Writer, r *inspect.Report) error {
	style, err := files.ReadFile("report.css")
	if err != nil {
		return err
	}
	var script []byte
	for _, name := range scripts {
		b, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		script = append(script, b...)
	}
	d := newDocument(r)
	d.Style, d.Script = template.CSS(style), template.JS(script)
	sum := sha256.Sum256(script)
	d.Policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'"
	var b bytes.Buffer
	if err := report.Execute(&b, d); err != nil {
		return err
	}
	_, err = w.Write(visible(b.Bytes()))
	return err
}

// visible replaces characters that have no picture of their own: they would be
// lost, or change how others are shown.
func visible(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, b)
}

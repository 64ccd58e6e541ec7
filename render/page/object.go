package page

import (
	"bytes"
	"encoding"
	"encoding/json"
	"io"
	"reflect"
	"strings"
)

// indent is that of each level of an object.
const indent = "  "

// objectWriter writes a value as json.Encoder does, but element by element of its
// lists: all stacks of a thousand threads are 40 MB, which the encoder would hold
// several times, and grow and copy.
type objectWriter struct {
	w     io.Writer
	json  *json.Encoder // to piece
	piece bytes.Buffer
	err   error // the first
}

func (o *objectWriter) text(s string) {
	if o.err == nil {
		_, o.err = io.WriteString(o.w, s)
	}
}

// whole writes a value that is small. prefix is that of its lines but the first.
func (o *objectWriter) whole(v reflect.Value, prefix string) {
	if o.err != nil {
		return
	}
	if v.CanAddr() {
		v = v.Addr() // it need not be copied
	}
	o.piece.Reset()
	o.json.SetIndent(prefix, indent)
	if o.err = o.json.Encode(v.Interface()); o.err == nil {
		_, o.err = o.w.Write(bytes.TrimSuffix(o.piece.Bytes(), []byte("\n")))
	}
}

// value writes a value: objects that have lists field by field, lists of objects
// element by element.
func (o *objectWriter) value(v reflect.Value, prefix string) {
	in := v
	for in.Kind() == reflect.Pointer && !in.IsNil() {
		in = in.Elem()
	}
	switch {
	case marshals(v.Type()) || marshals(in.Type()):
	case in.Kind() == reflect.Struct && ordinary(in.Type()):
		o.fields(in, prefix)
		return
	case in.Kind() == reflect.Slice && in.Len() > 0 && in.Type().Elem().Kind() == reflect.Struct:
		for i := range in.Len() {
			o.text(opening(i, "[") + "\n" + prefix + indent)
			o.whole(in.Index(i), prefix+indent)
		}
		o.text("\n" + prefix + "]")
		return
	}
	o.whole(v, prefix)
}

func (o *objectWriter) fields(v reflect.Value, prefix string) {
	n := 0
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if options == "omitempty" && empty(v.Field(i)) {
			continue
		}
		o.text(opening(n, "{") + "\n" + prefix + indent + `"` + name + `": `)
		o.value(v.Field(i), prefix+indent)
		n++
	}
	if n == 0 {
		o.text("{}")
		return
	}
	o.text("\n" + prefix + "}")
}

// opening is what stands before the element i of a list or of an object.
func opening(i int, bracket string) string {
	if i == 0 {
		return bracket
	}
	return ","
}

// ordinary tells whether a type is a struct of fields with names and nothing else to
// be heeded.
func ordinary(t reflect.Type) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "" || name == "-" || options != "" && options != "omitempty" {
			return false
		}
	}
	return true
}

// marshals tells whether a type writes itself.
func marshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// empty tells whether omitempty leaves a value out.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Array, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// Package flat reads and writes makedumpfile's flattened format (-F): a stream
// of pieces of another file, for pipes, where the writer cannot seek.
//
//	offset 0     header, 4096 bytes: "makedumpfile" and zeros to 16 bytes,
//	             be64 type 1, be64 version 1, zeros
//	offset 4096  records: be64 offset, be64 size, then size bytes that belong
//	             at offset of the other file; of two that overlap the later
//	             one counts
//	last         a record of offset -1 and size -1
//
// Specification: makedumpfile.h, struct makedumpfile_header and
// makedumpfile_data_header.
package flat

import "bytes"

// Signature is how a file begins.
const Signature = "makedumpfile\x00\x00\x00\x00"

const (
	headerSize = 4096
	recordSize = 16
	flatType   = 1
	version    = 1
	endMark    = -1
)

// format is the format's name in errors.
const format = "flattened"

// Match tells whether a file that begins with head is of this format.
func Match(head []byte) bool { return bytes.HasPrefix(head, []byte(Signature)) }

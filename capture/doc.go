// Package capture writes snapshots to files: names, temporary files without a
// name, free space, sparse and compressed output, several kinds from one stop.
//
// A dump appears under its final name only when it is complete and on disk.
// Whatever fails, the source is resumed and nothing half-written stays.
package capture

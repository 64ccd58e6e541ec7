package inspect

import "procdump/snapshot"

// Missing is memory of the process that its dump does not hold.
type Missing struct {
	Address Address `json:"address"`
	Bytes   uint64  `json:"bytes"`
	What    string  `json:"what,omitempty"` // the mapping's path or name
	Why     string  `json:"why"`
}

func missing(i *snapshot.Info) (all []Missing) {
	for _, u := range i.Unreadable {
		all = append(all, Missing{Address: Address(u.Addr), Bytes: u.Size, Why: "it could not be read"})
	}
	for _, l := range i.LeftOut {
		all = append(all, Missing{Address(l.Range.Addr), l.Range.Size, l.What, l.Why})
	}
	return all
}

package store

import (
	"fmt"
	"strings"
)

// dump tells where every record of a key is, for a failure's report.
func dump(s *Store, key string) string {
	var b strings.Builder
	for _, g := range s.segs.all() {
		g.mu.Lock()
		fmt.Fprintf(&b, "segment %d %v live %d tombs %d used %d sealed %v\n", g.ordinal, g.kind, g.mu.live, g.mu.tombs, g.mu.used, g.mu.sealed)
		g.mu.Unlock()
		if g.kind == bulkSegment {
			continue
		}
		rows, err := readTable(g)
		if err != nil {
			rows, err = scanRows(g, false)
		}
		if err != nil {
			fmt.Fprintf(&b, "  rows: %v\n", err)
		}
		for _, row := range rows {
			h, raw, bad, err := readGroup(g, int64(row.offset), true)
			if err != nil || bad > 0 {
				fmt.Fprintf(&b, "  group at %d: bad %d %v\n", row.offset, bad, err)
				continue
			}
			d := h.records(raw)
			var r record
			for d.next(&r) {
				if string(r.key) == key {
					fmt.Fprintf(&b, "  group at %d (tentative %v): seq %d delete %v value %q body %d %+v\n", h.offset, row.metaLen&tentative != 0, r.seq, r.delete, r.value, r.body, r.ref)
				}
			}
		}
	}
	x, found, err := s.indexGet([]byte(key), nil)
	fmt.Fprintf(&b, "index: %v %v %+v\n", found, err, x)
	s.applier.mu.Lock()
	fmt.Fprintf(&b, "mark %+v flushed %+v\nrecovery %+v\n", s.applier.mu.mark, s.applier.mu.flushed, s.Recovery)
	s.applier.mu.Unlock()
	return b.String()
}

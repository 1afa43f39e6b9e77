package faults

import "iter"

// ring is the last records that came.
type ring struct {
	records [1024]Record
	next    uint64
}

func (r *ring) add(record Record) {
	r.records[r.next%uint64(len(r.records))] = record
	r.next++
}

// backwards yields the records, the last one first.
func (r *ring) backwards() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for n := r.next; n > 0 && r.next-n < uint64(len(r.records)); n-- {
			if !yield(r.records[(n-1)%uint64(len(r.records))]) {
				return
			}
		}
	}
}

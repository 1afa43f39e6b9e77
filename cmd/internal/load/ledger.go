package load

import "slices"

// Tally says what became of messages.
type Tally struct {
	// Delivered counts those that arrived, each once.
	Delivered uint64 `json:"delivered"`
	// Lost counts those that were sent and did not arrive.
	Lost uint64 `json:"lost"`
	// Duplicated counts arrivals of what had arrived, or was never sent.
	Duplicated uint64 `json:"duplicated"`
	// Reordered counts those that arrived after a later one of their publisher.
	Reordered uint64 `json:"reordered"`
}

// Add adds what u counted.
func (t *Tally) Add(u Tally) {
	t.Delivered += u.Delivered
	t.Lost += u.Lost
	t.Duplicated += u.Duplicated
	t.Reordered += u.Reordered
}

// Exact reports whether everything arrived once and in order.
func (t Tally) Exact() bool { return t.Lost == 0 && t.Duplicated == 0 && t.Reordered == 0 }

// Ledger keeps account of what one receiver gets. The zero value has got nothing.
// It is for one goroutine.
type Ledger struct {
	accounts  []account // by publisher
	delivered uint64
	odd       bool // something was not the next of its publisher
}

// account is of one publisher.
type account struct {
	next       uint64 // above all that arrived
	missing    []span // below next, rising
	duplicated uint64
	reordered  uint64
}

// span is the numbers from first up to, not including, end.
type span struct{ first, end uint64 }

// Take enters the arrival of a message. As long as messages arrive in order that
// allocates nothing.
func (l *Ledger) Take(publisher uint16, number uint64) {
	if int(publisher) < len(l.accounts) {
		if a := &l.accounts[publisher]; number == a.next {
			a.next++
			l.delivered++
			return
		}
	}
	l.takeOdd(publisher, number)
}

// takeOdd enters what is not the next message of a publisher that is known.
func (l *Ledger) takeOdd(publisher uint16, number uint64) {
	if missing := int(publisher) + 1 - len(l.accounts); missing > 0 {
		l.accounts = append(l.accounts, make([]account, missing)...)
	}
	a := &l.accounts[publisher]
	switch {
	case number >= a.next:
		if number > a.next {
			a.missing = append(a.missing, span{a.next, number})
			l.odd = true
		}
		a.next = number + 1
		l.delivered++
	case a.find(number):
		a.reordered++
		l.odd = true
		l.delivered++
	default:
		a.duplicated++
		l.odd = true
	}
}

// find removes number from the missing ones, if it is one of them.
func (a *account) find(number uint64) bool {
	i, _ := slices.BinarySearchFunc(a.missing, number, func(s span, n uint64) int {
		if s.end <= n {
			return -1
		}
		return 1 // the first that ends above n
	})
	if i == len(a.missing) || number < a.missing[i].first {
		return false
	}
	s := a.missing[i]
	var rest []span
	if s.first < number {
		rest = append(rest, span{s.first, number})
	}
	if number+1 < s.end {
		rest = append(rest, span{number + 1, s.end})
	}
	a.missing = slices.Replace(a.missing, i, i+1, rest...)
	return true
}

// Delivered returns how many messages have arrived, each counted once.
func (l *Ledger) Delivered() uint64 { return l.delivered }

// Exact reports whether of each publisher exactly the first ones have arrived, once
// and in order: a prefix of what it sent.
func (l *Ledger) Exact() bool { return !l.odd }

// Heard returns for each publisher, up to the last one heard, the number above all
// that arrived: how many did, if the ledger is exact.
func (l *Ledger) Heard() []uint64 {
	heard := make([]uint64, len(l.accounts))
	for i := range l.accounts {
		heard[i] = l.accounts[i].next
	}
	return heard
}

// Sum compares what arrived with what was sent: the number of messages of each
// publisher that this receiver was to get, none for those beyond the list.
func (l *Ledger) Sum(sent []uint64) Tally {
	var t Tally
	for i := range max(len(sent), len(l.accounts)) {
		var a account
		var owed uint64
		if i < len(l.accounts) {
			a = l.accounts[i]
		}
		if i < len(sent) {
			owed = sent[i]
		}
		t.Add(a.sum(owed))
	}
	return t
}

// sum is the tally of an account that was owed that many messages.
func (a *account) sum(owed uint64) Tally {
	lost := owed - min(owed, a.next)
	beyond := a.next - min(owed, a.next) // arrived, though nobody sent it
	for _, s := range a.missing {
		lost += min(s.end, owed) - min(s.first, owed)
		beyond -= max(s.end, owed) - max(s.first, owed)
	}
	return Tally{Delivered: owed - lost, Lost: lost, Duplicated: a.duplicated + beyond, Reordered: a.reordered}
}

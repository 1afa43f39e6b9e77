package main

import (
	"context"
	"time"

	"crier.local/api"
	"crier.local/cmd/internal/load"
)

// killings lets the duration pass, and meanwhile kills those who are doomed.
func (s *benchStage) killings(ctx context.Context) error {
	var doomed []*benchProcess
	for _, p := range s.processes {
		if p.part.Doomed {
			doomed = append(doomed, p)
		}
	}
	pause := s.b.duration / time.Duration(len(doomed)+1)
	for _, p := range doomed {
		if err := s.pass(ctx, pause); err != nil {
			break
		}
		p.killed = s.clock.Now()
		p.cmd.Process.Kill()
	}
	if ctx.Err() == nil {
		_ = s.pass(ctx, pause)
	}
	return s.bury()
}

// bury waits until all witnesses are told of all departures, and has the receivers
// expect nothing more from the dead.
func (s *benchStage) bury() error {
	o := benchOrder{Do: doBury}
	for _, p := range s.processes {
		if p.killed != 0 {
			o.Dead = append(o.Dead, p.part.Publishers...)
		}
	}
	if _, err := s.settle(s.mourned); err != nil || len(o.Dead) == 0 {
		return err
	}
	living := 0
	for _, p := range s.processes {
		if p.alive() && p.receives() {
			living++
		}
	}
	s.buried = 0
	s.tell(o, (*benchProcess).receives)
	_, err := s.settle(func() bool { return s.buried == living })
	return err
}

// benchDeparture is that a witness is told of a receiver that was killed.
type benchDeparture struct{ witness, gone int }

// due returns when each departure took place that is to be told.
func (s *benchStage) due() map[benchDeparture]int64 {
	due := map[benchDeparture]int64{}
	for _, w := range s.processes {
		if !w.part.Witness {
			continue
		}
		for _, p := range s.processes {
			for n := p.part.First; p.killed != 0 && n < p.part.First+p.part.Receivers; n++ {
				due[benchDeparture{w.part.First, n}] = p.killed
			}
		}
	}
	return due
}

// mourned reports whether as many departures were told as there were, and all that
// the dead had told has been heard.
func (s *benchStage) mourned() bool {
	for _, p := range s.processes {
		if p.killed != 0 && !p.over {
			return false
		}
	}
	killed, witnesses := s.losses()
	return len(s.account.departures) >= killed*witnesses
}

// losses returns how many receivers were killed, and how many witnesses there are.
func (s *benchStage) losses() (killed, witnesses int) {
	for _, p := range s.processes {
		switch {
		case p.killed != 0:
			killed += p.part.Receivers
		case p.part.Witness:
			witnesses++
		}
	}
	return killed, witnesses
}

// killFigures compares the departures that were told with those that took place.
func (s *benchStage) killFigures() *killFigures {
	f := &killFigures{}
	f.Killed, f.Witnesses = s.losses()
	due, times := s.due(), load.NewLatency()
	for _, w := range s.account.departures {
		d := benchDeparture{w.Number, w.Gone}
		killed, ok := due[d]
		delete(due, d)
		if !ok || w.Reason != api.ReasonDied.String() { // again, of one who lives, or for a wrong reason
			f.Wrong++
			continue
		}
		f.Departures++
		times.Record(w.Time - killed)
	}
	f.Wrong += len(due)
	f.P50, f.Max = times.P50(), times.Max()
	return f
}

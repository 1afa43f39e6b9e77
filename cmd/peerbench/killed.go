package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
)

// kills is how many processes die in a measurement.
const kills = 20

// measureKilled measures from kill -9 of a process with many connections until a
// witness has been told of all of them; the median of several.
func measureKilled(st *stage) (v values, err error) {
	defer func() { err = errors.Join(err, st.close()) }()
	a, err := st.open(1)
	if err != nil {
		return nil, err
	}
	w, err := newWitness(st.h.ctx, a.Address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.client.Close()) }()
	var took spread
	for range kills {
		ms, err := st.kill(w, a.Address)
		if err != nil {
			return nil, err
		}
		took = append(took, ms)
	}
	slices.Sort(took)
	return values{told: took.median()}, nil
}

// kill starts a crowd, kills it and returns the milliseconds until the witness knows.
func (st *stage) kill(w *witness, address string) (float64, error) {
	p, err := st.h.converse("crowd", "crowd", address, strconv.Itoa(st.c.receivers))
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if _, err := p.hear(joining); err != nil {
		return 0, err
	}
	if err := w.await(api.KindJoined, st.c.receivers); err != nil {
		return 0, err
	}
	began := time.Now()
	p.kill()
	err = w.await(api.KindLeft, st.c.receivers)
	return time.Since(began).Seconds() * 1e3, err
}

// witness hears who comes and goes.
type witness struct {
	client *notification.Client
	x      *notification.Connection
	ctx    context.Context
}

func newWitness(ctx context.Context, address string) (*witness, error) {
	endpoint, err := api.ParseEndpoint(address)
	if err != nil {
		return nil, err
	}
	c, err := notification.Dial(ctx, client.Options{Address: endpoint})
	if err != nil {
		return nil, err
	}
	x, err := c.Connect(ctx, api.Connect{Presence: true})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &witness{c, x, ctx}, nil
}

// await waits for that many events of a kind.
func (w *witness) await(kind api.Kind, count int) error {
	ctx, cancel := context.WithTimeout(w.ctx, joining)
	defer cancel()
	for count > 0 {
		e, err := w.x.Receive(ctx)
		if err != nil {
			return fmt.Errorf("witness, %d events %v short: %w", count, kind, err)
		}
		if e.Kind == kind {
			count--
		}
	}
	return nil
}

// crowd is the main function of a process with many connections that waits for its
// end; it returns the status.
func crowd(address, count string) int {
	err := func() error {
		endpoint, err := api.ParseEndpoint(address)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(count)
		if err != nil {
			return err
		}
		c, err := notification.Dial(context.Background(), client.Options{Address: endpoint})
		if err != nil {
			return err
		}
		defer c.Close()
		for i := range n {
			if _, err := c.Connect(context.Background(), api.Connect{Name: fmt.Sprintf("one of the crowd %d", i)}); err != nil {
				return err
			}
		}
		if err := json.NewEncoder(os.Stdout).Encode(report{}); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

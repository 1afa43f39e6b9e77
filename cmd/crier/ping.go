package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/client/notification"
)

func (p *program) pingCommand() *cobra.Command {
	var (
		r     reach
		times int
		json  bool
	)
	cmd := &cobra.Command{
		Use:   "ping",
		Short: "Measure round trips to the provider; fail if there is none",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.dialBriefly(cmd.Context(), &r)
			if err != nil {
				return err
			}
			defer c.Close()
			var trips roundTrips
			for range times {
				if err := p.ping(cmd.Context(), c, &r, &trips, json); err != nil {
					return err
				}
			}
			return p.printRoundTrips(trips, json)
		},
	}
	r.addTo(cmd)
	cmd.Flags().Var(wholeNumber(&times, 1, 1), "count", "how many round trips to make")
	cmd.Flags().BoolVar(&json, "json", false, "print JSON, one object per line")
	return cmd
}

// roundTrips sums up the round trips made.
type roundTrips struct {
	count            int
	least, most, sum time.Duration
}

func (t *roundTrips) add(trip time.Duration) {
	if t.count == 0 || trip < t.least {
		t.least = trip
	}
	t.most = max(t.most, trip)
	t.sum += trip
	t.count++
}

func (t *roundTrips) mean() time.Duration { return t.sum / time.Duration(t.count) }

// pingLine is a round trip as a line of JSON, summaryLine all of them.
type pingLine struct {
	Kind     string  `json:"kind"`
	Provider string  `json:"provider"`
	Address  string  `json:"address"`
	Micros   float64 `json:"rtt_us"`
}

type summaryLine struct {
	Kind  string  `json:"kind"`
	Count int     `json:"count"`
	Min   float64 `json:"min_us"`
	Mean  float64 `json:"mean_us"`
	Max   float64 `json:"max_us"`
}

// ping makes one round trip and prints it.
func (p *program) ping(ctx context.Context, c *notification.Client, r *reach, trips *roundTrips, json bool) error {
	ctx, cancel := r.bound(ctx)
	defer cancel()
	start := time.Now()
	if err := causeOf(ctx, c.Ping(ctx)); err != nil {
		return lost(err)
	}
	trip := time.Since(start)
	trips.add(trip)
	provider := c.Provider()
	if json {
		return p.stdout.json(pingLine{"ping", provider.Name, provider.Address.String(), micros(trip)})
	}
	return p.stdout.printf("%s at %s: %s", sanitize([]byte(provider.Name)), sanitize([]byte(provider.Address.String())), milliseconds(trip))
}

// lost gives a link that broke the exit code of a provider that is not there.
func lost(err error) error {
	if isAny(err, api.ErrDisconnected, api.ErrOutcomeUnknown) {
		return &codedError{err, exitUnavailable, "the provider has just gone away"}
	}
	return err
}

func (p *program) printRoundTrips(t roundTrips, json bool) error {
	if json {
		return p.stdout.json(summaryLine{"summary", t.count, micros(t.least), micros(t.mean()), micros(t.most)})
	}
	return p.stdout.printf("%s: least %s, mean %s, most %s",
		count(t.count, "round trip"), milliseconds(t.least), milliseconds(t.mean()), milliseconds(t.most))
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3f ms", float64(d.Nanoseconds())/1e6)
}

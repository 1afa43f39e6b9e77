package provider_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crier.local/api"
	"crier.local/api/encoding"
	"crier.local/client"
	"crier.local/provider"
)

// record is what a logger sends to the log service, as JSON.
type record struct {
	Level, Message      string
	Names, Keys, Values []string
}

// logs is a log service that keeps its records.
type logs struct {
	mu      sync.Mutex
	records []record
}

const logsLog api.Method = 0 // takes a record

func logsSelector() api.Selector {
	return api.Selector{UUID: "89e6340c-67f5-4055-b1d1-b4f4c2755f67", Major: 0, Minor: 2}
}

func (l *logs) Handle(_ context.Context, c *provider.Call) (provider.Result, error) {
	if c.Method != logsLog {
		return provider.Result{}, api.ErrNoMethod
	}
	r, err := encoding.FromJSON[record](c.Args)
	if err != nil {
		return provider.Result{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	return provider.Result{}, nil
}

// take returns the records that have come since the last time.
func (l *logs) take() []record {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.records
	l.records = nil
	return taken
}

// logger is the service's client: it adds its names and tags to what it logs.
type logger struct {
	session             *client.Session
	names, keys, values []string
}

func (l logger) withName(name string) logger {
	l.names = append(slices.Clip(l.names), name)
	return l
}

func (l logger) withTag(key, value string) logger {
	l.keys, l.values = slices.Clone(l.keys), slices.Clone(l.values)
	if i := slices.Index(l.keys, key); i >= 0 {
		l.values[i] = value
		return l
	}
	l.keys, l.values = append(l.keys, key), append(l.values, value)
	return l
}

func (l logger) log(ctx context.Context, level, message string) error {
	args, err := encoding.JSON(record{level, message, l.names, l.keys, l.values})
	if err != nil {
		return err
	}
	_, err = l.session.Invoke(ctx, logsLog, args)
	return err
}

func installLogs(h *host) (*service, *logs) {
	h.t.Helper()
	l := &logs{}
	o := provider.Options{Name: "system/log/test", Version: api.Version{Major: 1, Minor: 2}}
	return h.install(o, offer{logsSelector(), l, provider.ServiceOptions{}}), l
}

func TestLog(t *testing.T) {
	type list = []string
	for _, tc := range []struct {
		name string
		with func(l logger) logger
		want record
	}{
		{"debug", plain, record{"debug", "fisk", nil, nil, nil}},
		{"warn", plain, record{"warn", "fisk", nil, nil, nil}},
		{"info", plain, record{"info", "fisk", nil, nil, nil}},
		{"error", plain, record{"error", "fisk", nil, nil, nil}},
		{"a name", func(l logger) logger { return l.withName("gerdt") },
			record{"warn", "hest", list{"gerdt"}, nil, nil}},
		{"a name and a tag of the record", func(l logger) logger { return l.withName("gerdt").withTag("mums", "42") },
			record{"warn", "hest", list{"gerdt"}, list{"mums"}, list{"42"}}},
		{"a tag", func(l logger) logger { return l.withTag("mums", "43") },
			record{"error", "gris", nil, list{"mums"}, list{"43"}}},
		{"a tag more", func(l logger) logger { return l.withTag("mums", "43").withTag("jumbo", "99") },
			record{"error", "gris", nil, list{"mums", "jumbo"}, list{"43", "99"}}},
		{"a tag anew", func(l logger) logger { return l.withTag("mums", "43").withTag("mums", "99") },
			record{"error", "gris", nil, list{"mums"}, list{"99"}}},
		{"a tag, a name, the tag anew", func(l logger) logger { return l.withTag("mums", "43").withName("grums").withTag("mums", "99") },
			record{"error", "gris", list{"grums"}, list{"mums"}, list{"99"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h *host) {
				service, l := installLogs(h)
				c, s := service.open(logsSelector())
				if err := tc.with(logger{session: s}).log(within(t), tc.want.Level, tc.want.Message); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]record{tc.want}, l.take(), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("logged (- want, + got):\n%s", diff)
				}
				closed(t, c)
				service.uninstallUnused()
			})
		})
	}
}

func plain(l logger) logger { return l }

func TestLogAfterUninstall(t *testing.T) {
	overBoth(t, func(t *testing.T, h *host) {
		service, l := installLogs(h)
		_, s := service.open(logsSelector())
		service.uninstall()
		err := logger{session: s}.log(within(t), "debug", "Oh no")
		if !errors.Is(err, api.ErrGone) && !errors.Is(err, api.ErrDisconnected) {
			t.Errorf("%v, want an error", err)
		}
		if got := l.take(); len(got) > 0 {
			t.Errorf("logged %v", got)
		}
	})
}

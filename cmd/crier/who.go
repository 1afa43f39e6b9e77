package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"crier.local/api"
)

func (p *program) whoCommand() *cobra.Command {
	var (
		r    reach
		room string
		json bool
	)
	cmd := &cobra.Command{
		Use:   "who",
		Short: "List the connections there are",
		Long: `Who lists the connections of a room, or of all: who they are, what is queued for
them, and whom senders wait for. Pid, uid and container are as the provider sees them
from its own namespaces: pid 0 is a process whose pid it does not see, uid 65534 is
nobody or a user it does not know, and there is a container only for a process whose
cgroup it can read.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			seats, err := p.seats(cmd.Context(), &r, room)
			switch {
			case err != nil:
				return err
			case json:
				return p.printSeatLines(seats)
			case len(seats) == 0:
				p.note("%s", nobodyIn(room))
				return nil
			default:
				if err := p.printTable(func(w io.Writer) { writeSeats(w, seats) }); err != nil {
					return err
				}
				p.explain(seats)
				return nil
			}
		},
	}
	r.addTo(cmd)
	cmd.Flags().StringVar(&room, "room", "", "only the connections of this `room`")
	cmd.Flags().BoolVar(&json, "json", false, "print JSON, one object per line")
	completeRooms(cmd, &r)
	return cmd
}

// nobodyIn says that a room is empty, or that all are.
func nobodyIn(room string) string {
	if room == "" {
		return "nobody is connected"
	}
	return "nobody is in room " + room
}

func (p *program) seats(ctx context.Context, r *reach, room string) ([]api.Seat, error) {
	if room != "" {
		if err := api.CheckRoom(room); err != nil {
			return nil, err
		}
	}
	c, err := p.dialBriefly(ctx, r)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := r.bound(ctx)
	defer cancel()
	seats, err := c.Who(ctx, room)
	return seats, causeOf(ctx, err)
}

// seatLine is a connection as a line of JSON.
type seatLine struct {
	Room        string        `json:"room"`
	Name        string        `json:"name"`
	Handle      api.Handle    `json:"handle"`
	Session     api.SessionID `json:"session"`
	PID         int32         `json:"pid"`
	UID         uint32        `json:"uid"`
	Since       string        `json:"since"`
	Queued      int           `json:"queued"`
	QueuedBytes int64         `json:"queued_bytes"`
	GID         uint32        `json:"gid"`
	Subject     string        `json:"subject,omitempty"`
	Awaited     bool          `json:"awaited"`
	Parked      int           `json:"parked"`
	SendOnly    bool          `json:"send_only"`
	Container   string        `json:"container,omitempty"`
}

func (p *program) printSeatLines(seats []api.Seat) error {
	for _, s := range seats {
		err := p.stdout.json(seatLine{
			Room: s.Room, Name: s.Name, Handle: s.Handle, Session: s.Session,
			PID: s.Identity.PID, UID: s.Identity.UID, Since: timeText(s.Since),
			Queued: s.Queued, QueuedBytes: s.QueuedBytes, GID: s.Identity.GID, Subject: s.Identity.Subject,
			Awaited: s.Awaited, Parked: s.Parked, SendOnly: s.SendOnly, Container: s.Identity.Container,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// explain tells what the numbers mean that stand for something unknown. Whoever has
// a subject came over TCP, where both say nothing.
func (p *program) explain(seats []api.Seat) {
	if slices.ContainsFunc(seats, func(s api.Seat) bool { return s.Identity.Subject == "" && s.Identity.PID == 0 }) {
		p.note("pid 0: a process in another pid namespace, such as another container's")
	}
	if slices.ContainsFunc(seats, func(s api.Seat) bool { return s.Identity.Subject == "" && s.Identity.UID == unknownID }) {
		p.note("uid %d: nobody, or a user whom the provider's user namespace does not know", unknownID)
	}
}

// writeSeats writes the table. Whose identity is a certificate's has no uid to
// speak of; a column for it is there only if somebody has one, as for containers.
func writeSeats(w io.Writer, seats []api.Seat) {
	certified := slices.ContainsFunc(seats, func(s api.Seat) bool { return s.Identity.Subject != "" })
	contained := slices.ContainsFunc(seats, func(s api.Seat) bool { return s.Identity.Container != "" })
	fmt.Fprint(w, "ROOM\tNAME\tHANDLE\tSESSION\tPID\tUID\tSINCE\tQUEUED\tBYTES\tSTATE")
	if contained {
		fmt.Fprint(w, "\tCONTAINER")
	}
	if certified {
		fmt.Fprint(w, "\tSUBJECT")
	}
	fmt.Fprintln(w)
	for _, s := range seats {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%s",
			sanitize([]byte(s.Room)), sanitize([]byte(s.Name)), s.Handle, s.Session, s.Identity.PID, s.Identity.UID,
			s.Since.Local().Format("2006-01-02 15:04:05"), s.Queued, s.QueuedBytes, state(s))
		if contained {
			fmt.Fprintf(w, "\t%s", cmp.Or(sanitize([]byte(s.Identity.ShortContainer())), "-"))
		}
		if certified {
			fmt.Fprintf(w, "\t%s", cmp.Or(sanitize([]byte(s.Identity.Subject)), "-"))
		}
		fmt.Fprintln(w)
	}
}

// state says what a connection is waited for, or waits for.
func state(s api.Seat) string {
	switch {
	case s.Awaited && s.Parked > 0:
		return fmt.Sprintf("awaited, %s waiting", count(s.Parked, "send"))
	case s.Awaited:
		return "awaited"
	case s.Parked > 0:
		return count(s.Parked, "send") + " waiting"
	case s.SendOnly:
		return "sends only"
	default:
		return "-"
	}
}

// printTable prints what write writes, tab-separated, in aligned columns.
func (p *program) printTable(write func(io.Writer)) error {
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	write(w)
	return w.Flush()
}

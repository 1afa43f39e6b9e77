// Command judge is for tests outside of cmd, such as those with containers: it
// reads what actors have told, one record a line and as it was heard, from
// standard input, and prints what does not hold of it. It ends with 1 if there is
// any such thing.
//
// A record {"t":"killed","c":"ACTOR"} says that an actor was killed, and that all
// its records have been told.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"crier.local/cmd/internal/faults"
)

func main() {
	history := faults.NewHistory()
	if err := hear(history, json.NewDecoder(os.Stdin)); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(2)
	}
	violations := history.Check(true)
	for _, v := range violations {
		fmt.Printf("%s: room %s: %s\n", v.Invariant, v.Room, v.Text)
	}
	summary, err := json.Marshal(history.Summary())
	if err != nil {
		panic(err) // it has nothing that JSON has not
	}
	fmt.Printf("%s\n", summary)
	if len(violations) > 0 {
		os.Exit(1)
	}
}

// hear takes all records into account.
func hear(history *faults.History, records *json.Decoder) error {
	for {
		var r faults.Record
		switch err := records.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case r.At == "killed":
			history.Killed(r.Conn)
		default:
			history.Add(r)
		}
	}
}

package api_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"crier.local/api"
)

// Those who have no Go find the numbers in PROTOCOL.md.
func TestProtocolNumbers(t *testing.T) {
	b, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	code := api.CodeCall + 1
	for ; ; code++ {
		err := api.Failure{Code: code}.Err()
		if api.CodeOf(err) != code {
			break // the first that nothing stands for
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "context "), ":")
		if cell := fmt.Sprintf("| %d | %s |", code, text); !strings.Contains(page, cell) {
			t.Errorf("no %s", cell)
		}
	}
	if code != 21 {
		t.Errorf("code %d stands for nothing", code)
	}
	for reason := api.ReasonClosed; reason <= api.ReasonGoingAway; reason++ {
		if want := fmt.Sprintf(`[ :]%d %s[,.]`, reason, reason); !regexp.MustCompile(want).MatchString(page) {
			t.Errorf("no reason %d %v", reason, reason)
		}
	}
	s := api.NotificationSelector
	for _, want := range []string{
		"`" + s.UUID + "`", fmt.Sprintf("version %d.%d", s.Major, s.Minor),
		fmt.Sprintf("wire version %d", api.WireVersion), "`" + api.AnnouncementSuffix + "`",
		fmt.Sprintf("has %d bytes at most, a connection's %d", api.MaxRoomName, api.MaxName),
		"`" + api.DefaultRoom + "`", "`" + api.ReservedPrefix + "`",
		fmt.Sprintf("costs n + %d", api.EntryCharge),
		fmt.Sprintf("`max_message` + %d bytes", api.ArgsSlack),
		fmt.Sprintf("of %d bytes at most", api.MaxSocketPath),
		fmt.Sprintf("| %d | Connect |", api.MethodConnect), fmt.Sprintf("| %d | CloseWith |", api.MethodCloseWith),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}

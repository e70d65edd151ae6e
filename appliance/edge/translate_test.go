package edge_test

import (
	"context"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/alb-appliance/appliance/appliance/edge"
	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestTranslate turns the inventory of each testdata file into a snapshot and names.
func TestTranslate(t *testing.T) {
	t.Parallel()
	addresses, err := edge.NewAddresses(netip.MustParsePrefix("127.90.0.0/16"), edge.ModePorts)
	if err != nil {
		t.Fatal(err)
	}
	open := func(string) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return -1, os.ErrInvalid }
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var inventory cloudsim.Inventory
			if err := json.Unmarshal(archive.Files[0].Data, &inventory); err != nil {
				t.Fatal(err)
			}
			snapshot := edge.Translate(&inventory, addresses, open)
			if _, problems := dataplane.Compile(nil, snapshot); len(problems) > 0 {
				t.Error(problems)
			}
			names, err := json.MarshalIndent(edge.Names(&inventory), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := snapshot.String() + string(names) + "\n"
			want := &archive.Files[1]
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSockets(t *testing.T) {
	t.Parallel()
	a, err := edge.NewAddresses(netip.MustParsePrefix("127.91.0.0/16"), edge.ModePorts)
	if err != nil {
		t.Fatal(err)
	}
	if a.Mode() != edge.ModePorts || a.DNS() != netip.MustParseAddr("127.91.0.53") {
		t.Errorf("mode %s, DNS %s", a.Mode(), a.DNS())
	}
	for port, want := range map[int]string{80: "127.91.0.2:20080", 443: "127.91.0.2:20443", 8080: "127.91.0.2:8080"} {
		if got := a.Socket("127.91.0.2", port); !strings.HasPrefix(got, "127.0.0.1:") && got != want {
			t.Errorf("port %d becomes %s, want %s", port, got, want)
		}
	}
}

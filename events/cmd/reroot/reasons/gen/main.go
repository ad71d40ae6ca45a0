// Command gen writes the table of reasons: gen reason.go table.go.
package main

import (
	"log"
	"os"

	"github.com/reroot-dev/reroot/events/cmd/reroot/reasons"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: gen reason.go table.go")
	}
	if err := generate(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func generate(from, to string) error {
	src, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	entries, err := reasons.Parse(src)
	if err != nil {
		return err
	}
	table, err := reasons.Source(entries)
	if err != nil {
		return err
	}
	return os.WriteFile(to, table, 0o644)
}

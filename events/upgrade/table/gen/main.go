// Command gen brings the tables in a document up to date: gen README.md.
package main

import (
	"log"
	"os"

	"github.com/reroot-dev/reroot/events/upgrade/table"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: gen README.md")
	}
	if err := generate(os.Args[1]); err != nil {
		log.Fatalf("%s: %v", os.Args[1], err)
	}
}

// generate leaves a document alone that it cannot fill.
func generate(document string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	filled, err := table.Fill(string(text))
	if err != nil {
		return err
	}
	return os.WriteFile(document, []byte(filled), 0o644)
}

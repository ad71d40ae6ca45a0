// Command gen writes what Knative gets for every function: gen functions.yaml.
package main

import (
	"log"
	"os"

	"github.com/reroot-dev/reroot/functions/trigger"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: gen functions.yaml")
	}
	manifest, err := trigger.Manifest()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(os.Args[1], manifest, 0o644); err != nil {
		log.Fatal(err)
	}
}

package journal

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
)

// Streams.
const (
	streamUpgrades  = "UPGRADES"
	streamInbox     = "INBOX"
	streamDeadlines = "DEADLINES"
	streamProgress  = "PROGRESS"
	streamDead      = "DEAD"
)

// First tokens of the subjects of each stream.
const (
	rootUpgrades  = "reroot"
	rootInbox     = "reroot-in"
	rootDeadlines = "reroot-deadline"
	rootProgress  = "reroot-progress"
	rootDead      = "reroot-dead"
)

// historyFilter matches a cluster's history. It is the filter of every compare-and-set: a clustered server compares
// filters that are in flight as strings, so there must be one spelling.
func historyFilter(cluster string) string { return rootUpgrades + "." + cluster + ".>" }

// restartFilter matches the records that begin a cluster's history anew.
func restartFilter(cluster string) string {
	return rootUpgrades + "." + cluster + ".*." + events.TypeJournalRestarted.Short()
}

// historySubject is the subject of an event of a history.
func historySubject(cluster string, e event.Event) (string, error) {
	if err := checkAddress(cluster, e); err != nil {
		return "", err
	}
	return strings.Join([]string{rootUpgrades, cluster, e.Subject(), events.TypeOf(e).Short()}, "."), nil
}

// inboxSubject is the subject by which an event comes in.
func inboxSubject(origin string, e event.Event) (string, error) {
	cluster := events.Cluster(e)
	if err := checkAddress(cluster, e); err != nil {
		return "", err
	}
	if !token.MatchString(origin) {
		return "", fmt.Errorf("cannot address event %s: origin %q is not a token", e.ID(), origin)
	}
	return strings.Join([]string{rootInbox, cluster, origin, e.Subject()}, "."), nil
}

// checkAddress refuses names that would not be one token of a subject: a dot or wildcard in a name could otherwise
// place an event into another cluster's history.
func checkAddress(cluster string, e event.Event) error {
	switch {
	case !events.ValidCluster(cluster):
		return fmt.Errorf("cannot address event %s: %q is not a cluster's name", e.ID(), cluster)
	case events.Cluster(e) != cluster:
		return fmt.Errorf("cannot address event %s: it belongs to cluster %q, not %q", e.ID(), events.Cluster(e), cluster)
	case !events.ValidUpgrade(e.Subject()):
		return fmt.Errorf("cannot address event %s: %q is not an upgrade's id", e.ID(), e.Subject())
	}
	if _, known := events.Lookup(events.TypeOf(e)); !known {
		return fmt.Errorf("cannot address event %s: type %q is not known", e.ID(), e.Type())
	}
	return nil
}

var (
	token    = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	notToken = regexp.MustCompile(`[^A-Za-z0-9_-]+`)
)

// tokenOf makes any text one token of a subject.
func tokenOf(s string) string {
	if s = notToken.ReplaceAllString(s, "_"); s == "" {
		return "_"
	}
	return s
}

// clusterOf is the cluster of a subject of any stream.
func clusterOf(subject string) string {
	_, rest, _ := strings.Cut(subject, ".")
	cluster, _, _ := strings.Cut(rest, ".")
	return cluster
}

// originOf is the origin of an inbox subject.
func originOf(subject string) string {
	if parts := strings.SplitN(subject, ".", 4); len(parts) == 4 {
		return parts[2]
	}
	return ""
}

// shortOf is the short type in a history's subject.
func shortOf(subject string) string {
	if parts := strings.SplitN(subject, ".", 4); len(parts) == 4 {
		return parts[3]
	}
	return ""
}

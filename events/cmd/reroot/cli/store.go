package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// open connects to the event store, once.
func (a *app) open(ctx context.Context) (journal.Store, error) {
	if a.store != nil {
		return a.store, nil
	}
	limited, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	connect := a.Connect
	if connect == nil {
		connect = a.dial
	}
	var err error
	a.store, err = connect(limited)
	return a.store, err
}

// dial connects to the event store that --server names.
func (a *app) dial(ctx context.Context) (journal.Store, error) {
	where := redacted(a.server)
	refuse := func(because, do string) error {
		return &Failure{Code: Unexpected, Cannot: "reach the event store at " + where, Because: because, Do: do}
	}
	options := []nats.Option{nats.Name("reroot"), nats.Timeout(a.patience), nats.MaxReconnects(-1)}
	if a.creds != "" {
		options = append(options, nats.UserCredentials(a.creds))
	}
	nc, err := nats.Connect(a.server, options...)
	if err != nil {
		return nil, refuse(strings.TrimPrefix(err.Error(), "nats: "), "check --server ($REROOT_SERVER), --creds, and that reroot-functions or reroot-node with an embedded journal runs there")
	}
	store, err := journal.Attach(ctx, nc)
	switch {
	case errors.Is(err, journal.ErrNoJournal):
		nc.Close()
		return nil, refuse("there is no journal on this server", "start reroot-functions or reroot-node with an embedded journal, which create it, or name another --server")
	case err != nil:
		nc.Close()
		return nil, refuse(err.Error(), "check that the server runs JetStream and that these credentials may read the journal")
	}
	a.disconnect = nc.Close
	return store, nil
}

func (a *app) close() {
	if a.disconnect != nil {
		a.disconnect()
	}
}

// redacted is a server's URL without password.
func redacted(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "the given --server"
	}
	return u.Redacted()
}

func (a *app) clusters(ctx context.Context) ([]string, error) {
	store, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	return store.Clusters(ctx)
}

// chosen is the cluster that the command is about: named, or the only one.
func (a *app) chosen(ctx context.Context) (string, error) {
	const cannot, do = "choose a cluster", "name one with --cluster ($REROOT_CLUSTER)"
	if a.cluster != "" {
		if !events.ValidCluster(a.cluster) {
			return "", wrong(cannot, do, "%q is not the name of a cluster, a DNS label", a.cluster)
		}
		return a.cluster, nil
	}
	names, err := a.clusters(ctx)
	switch {
	case err != nil:
		return "", err
	case len(names) == 0:
		return "", wrong(cannot, do, "none has a history yet")
	case len(names) > 1:
		return "", wrong(cannot, do, "%d have a history: %s", len(names), strings.Join(names, ", "))
	}
	return names[0], nil
}

// history is a cluster's history that exists.
func (a *app) history(ctx context.Context) (store journal.Store, cluster string, err error) {
	if store, err = a.open(ctx); err != nil {
		return nil, "", err
	}
	if cluster, err = a.chosen(ctx); err != nil {
		return nil, "", err
	}
	names, err := store.Clusters(ctx)
	if err != nil {
		return nil, "", err
	}
	if !slices.Contains(names, cluster) {
		return nil, "", wrong("find the history of "+cluster, "name one of those that `reroot get` lists", "no event of this cluster was ever admitted")
	}
	return store, cluster, nil
}

// upgrades are the ids of the upgrades that were ever requested in a history, oldest first.
func upgrades(ctx context.Context, log journal.Log, cluster string) ([]string, error) {
	var ids []string
	for r, err := range log.Read(ctx, cluster, 1) {
		if err != nil {
			return ids, fmt.Errorf("cannot read the history of %s: %w", cluster, err)
		}
		if events.TypeOf(r.Event) == events.TypeUpgradeRequested {
			ids = append(ids, r.Event.Subject())
		}
	}
	return ids, nil
}

// selected is the chosen cluster's history, and the upgrade in it that an argument names; id is "" where none does.
func (a *app) selected(ctx context.Context, args []string) (store journal.Store, cluster, id string, err error) {
	if len(args) > 0 {
		return a.upgrade(ctx, args[0])
	}
	store, cluster, err = a.history(ctx)
	return store, cluster, "", err
}

// upgrade finds the upgrade that an argument names: by id, or an unambiguous beginning of it, in the chosen cluster; or by
// cluster and id, as `get -o name` prints it.
func (a *app) upgrade(ctx context.Context, given string) (store journal.Store, cluster, id string, err error) {
	if of, name, both := strings.Cut(given, "/"); both {
		if a.cluster != "" && a.cluster != of {
			return nil, "", "", wrong("find upgrade "+given, "leave out --cluster ($REROOT_CLUSTER), or what stands before the /", "the chosen cluster is %s", a.cluster)
		}
		a.cluster, given = of, name
	}
	if store, cluster, err = a.history(ctx); err != nil {
		return nil, "", "", err
	}
	ids, err := upgrades(ctx, store, cluster)
	if err != nil {
		return nil, "", "", err
	}
	id, err = unambiguous("upgrade", given, ids, "reroot get, or reroot events")
	return store, cluster, id, err
}

// unambiguous is the one name that is the given one or begins with it.
func unambiguous(what, given string, names []string, do string) (string, error) {
	if slices.Contains(names, given) {
		return given, nil
	}
	cannot := "find " + what + " " + given
	fits := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return given == "" || !strings.HasPrefix(n, given) })
	switch len(fits) {
	case 0:
		return "", wrong(cannot, do, "there is none of this name")
	case 1:
		return fits[0], nil
	}
	return "", wrong(cannot, "give more of its name", "%d begin like this: %s", len(fits), strings.Join(fits, ", "))
}

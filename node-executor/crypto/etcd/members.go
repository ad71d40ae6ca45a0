package etcd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Members are the peer addresses that etcd's members are known by, one site a member: its id in hexadecimal, and the
// addresses, one a line. They stand outside the key space and hold the node's address, which etcd's operator compares
// with the node's.
type Members struct{ cluster clientv3.Cluster }

// NewMembers returns the members of the cluster that the client reaches.
func NewMembers(cluster clientv3.Cluster) *Members { return &Members{cluster} }

// Walk visits every member.
func (m *Members) Walk(ctx context.Context, visit func(site.Site) error) error {
	members, err := m.list(ctx)
	if err != nil {
		return err
	}
	for _, member := range members {
		if err := visit(siteOf(member)); err != nil {
			return err
		}
	}
	return nil
}

// Apply gives members the addresses that the changes want. It may be called again after a crash at any point. Fault is
// called before each change.
func (m *Members) Apply(ctx context.Context, changes []site.Change, fault func(string) error) error {
	return m.eachPending(ctx, changes, func(id uint64, c site.Change) error {
		if err := fault("etcd.member"); err != nil {
			return err
		}
		_, err := m.cluster.MemberUpdate(ctx, id, strings.Split(string(c.After), "\n"))
		return err
	})
}

// Confirm fails where a member is not as it was to become.
func (m *Members) Confirm(ctx context.Context, changes []site.Change) error {
	return m.eachPending(ctx, changes, func(uint64, site.Change) error { return site.ErrForeignWrite })
}

// eachPending calls do for the changes that are still to be made.
func (m *Members) eachPending(ctx context.Context, changes []site.Change, do func(id uint64, c site.Change) error) error {
	for _, c := range changes {
		if c.Store != site.EtcdMember {
			continue
		}
		if err := m.pending(ctx, c, do); err != nil {
			return fmt.Errorf("cannot change the peer addresses of %s: %w", c.Ref, err)
		}
	}
	return nil
}

func (m *Members) pending(ctx context.Context, c site.Change, do func(id uint64, c site.Change) error) error {
	members, err := m.list(ctx)
	if err != nil {
		return err
	}
	for _, member := range members {
		now := siteOf(member)
		switch {
		case now.Ref != c.Ref:
			continue
		case string(now.Content) == string(c.After):
			return nil
		case c.Create || c.Delete || site.HashOf(now.Content) != c.Before:
			return site.ErrForeignWrite
		}
		return do(member.ID, c)
	}
	return site.ErrForeignWrite
}

func (m *Members) list(ctx context.Context) ([]*etcdserverpb.Member, error) {
	answer, err := m.cluster.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list etcd's members: %w", err)
	}
	return answer.Members, nil
}

func siteOf(member *etcdserverpb.Member) site.Site {
	return site.Site{
		Ref:     site.Ref{Store: site.EtcdMember, Name: strconv.FormatUint(member.ID, 16)},
		Content: []byte(strings.Join(member.PeerURLs, "\n")),
	}
}

package extract

import "github.com/reroot-dev/reroot/events"

// The parts of payloads. A field that is added to one of the types of package events is added here; the tests fail
// until it is.

func deployment(r *reader) (d events.Deployment) {
	for name := range r.object {
		switch name {
		case "stateroot":
			d.Stateroot = r.string()
		case "commit":
			d.Commit = r.string()
		case "serial":
			d.Serial = int(r.integer(0))
		}
	}
	return d
}

func failure(r *reader) (f events.Failure) {
	for name := range r.object {
		failureField(r, name, &f)
	}
	return f
}

// failureField reads a field of an object that a failure is part of, if it is the failure's.
func failureField(r *reader, name string, f *events.Failure) {
	switch name {
	case "reason":
		f.Reason = events.Reason(r.string())
	case "message":
		f.Message = r.string()
	case "next":
		f.Next = r.string()
	}
}

func spec(r *reader) (s events.UpgradeSpec) {
	for name := range r.object {
		switch name {
		case "seedImageRef":
			s.SeedImageRef = seedImage(r)
		case "oadpContent":
			s.OADPContent = list(r, configMap)
		case "extraManifests":
			s.ExtraManifests = list(r, configMap)
		case "initMonitorTimeoutSeconds":
			s.InitMonitorTimeoutSeconds = int(r.integer(0))
		}
	}
	return s
}

func seedImage(r *reader) (ref events.SeedImageRef) {
	for name := range r.object {
		switch name {
		case "version":
			ref.Version = r.string()
		case "image":
			ref.Image = r.string()
		case "pullSecretRef":
			ref.PullSecretRef = optional(r, secret)
		}
	}
	return ref
}

func secret(r *reader) (ref events.SecretRef) {
	for name := range r.object {
		if name == "name" {
			ref.Name = r.string()
		}
	}
	return ref
}

func configMap(r *reader) (ref events.ConfigMapRef) {
	for name := range r.object {
		switch name {
		case "name":
			ref.Name = r.string()
		case "namespace":
			ref.Namespace = r.string()
		}
	}
	return ref
}

func check(r *reader) (c events.Check) {
	for name := range r.object {
		switch name {
		case "name":
			c.Name = r.string()
		case "ok":
			c.OK = r.bool()
		case "observed":
			c.Observed = r.string()
		case "expected":
			c.Expected = r.string()
		}
	}
	return c
}

func seed(r *reader) (s events.Seed) {
	for name := range r.object {
		switch name {
		case "image":
			s.Image = r.string()
		case "digest":
			s.Digest = r.string()
		case "formatVersion":
			s.FormatVersion = int(r.integer(0))
		case "version":
			s.Version = r.string()
		case "bytes":
			s.Bytes = r.integer(64)
		}
	}
	return s
}

func identity(r *reader) (c events.ClusterIdentity) {
	for name := range r.object {
		switch name {
		case "id":
			c.ID = r.string()
		case "version":
			c.Version = r.string()
		}
	}
	return c
}

func backup(r *reader) (b events.BackupRef) {
	for name := range r.object {
		switch name {
		case "namespace":
			b.Namespace = r.string()
		case "name":
			b.Name = r.string()
		case "uid":
			b.UID = r.string()
		case "wave":
			b.Wave = int(r.integer(0))
		}
	}
	return b
}

func restore(r *reader) (ref events.RestoreRef) {
	for name := range r.object {
		switch name {
		case "namespace":
			ref.Namespace = r.string()
		case "name":
			ref.Name = r.string()
		case "backup":
			ref.Backup = r.string()
		case "wave":
			ref.Wave = int(r.integer(0))
		}
	}
	return ref
}

package events

// Reason says why something failed or was refused. It is a closed list: the same string stands in events, in the
// ImageBasedUpgrade's status, in metrics and in the documentation.
type Reason string

// Reasons of refused requests and parked events.
const (
	// ReasonInvalidEvent: the event does not satisfy its schema or the CloudEvents envelope.
	ReasonInvalidEvent Reason = "InvalidEvent"
	// ReasonUnknownType: no such event type, or not this version of it.
	ReasonUnknownType Reason = "UnknownType"
	// ReasonNotAllowed: this origin may not publish this event type.
	ReasonNotAllowed Reason = "NotAllowed"
	// ReasonUpgradeInProgress: another upgrade of this cluster is open.
	ReasonUpgradeInProgress Reason = "UpgradeInProgress"
	// ReasonIllegalTransition: the stage cannot be reached from where the upgrade stands.
	ReasonIllegalTransition Reason = "IllegalTransition"
	// ReasonNodeDark: the node is between two roots and cannot be asked for anything.
	ReasonNodeDark Reason = "NodeDark"
	// ReasonExpired: the event arrived after its expirytime.
	ReasonExpired Reason = "Expired"
	// ReasonJournalCorrupt: the hash chain of the history is broken.
	ReasonJournalCorrupt Reason = "JournalCorrupt"
	// ReasonHandlerFailed: a function failed on this event again and again for no typed reason.
	ReasonHandlerFailed Reason = "HandlerFailed"
)

// Reasons of a failed Prep stage.
const (
	// ReasonSeedNotNewer: the seed's version is not higher than the cluster's.
	ReasonSeedNotNewer Reason = "SeedNotNewer"
	// ReasonSeedUnreachable: the registry of the seed image did not answer.
	ReasonSeedUnreachable Reason = "SeedUnreachable"
	// ReasonSeedUnauthorized: the registry refused the credentials.
	ReasonSeedUnauthorized Reason = "SeedUnauthorized"
	// ReasonSeedNotFound: the registry does not have the image.
	ReasonSeedNotFound Reason = "SeedNotFound"
	// ReasonSeedFormat: the image is not a seed image, or of a format that is not supported.
	ReasonSeedFormat Reason = "SeedFormat"
	// ReasonSeedVersionMismatch: the seed holds another version than the request names.
	ReasonSeedVersionMismatch Reason = "SeedVersionMismatch"
	// ReasonSeedIncompatible: seed and cluster differ in something that must be equal (proxy, FIPS, CA, storage).
	ReasonSeedIncompatible Reason = "SeedIncompatible"
	// ReasonSeedCorrupt: a digest or checksum of the seed's content does not match.
	ReasonSeedCorrupt Reason = "SeedCorrupt"
	// ReasonSeedUnsafe: the seed holds a path that leads out of its root.
	ReasonSeedUnsafe Reason = "SeedUnsafe"
	// ReasonPullSecretMissing: the named pull secret does not exist or has no .dockerconfigjson.
	ReasonPullSecretMissing Reason = "PullSecretMissing"
	// ReasonConfigMapInvalid: a ConfigMap that the request names is missing or malformed.
	ReasonConfigMapInvalid Reason = "ConfigMapInvalid"
	// ReasonBackupStorageUnavailable: OADP is missing or its storage location is not Available.
	ReasonBackupStorageUnavailable Reason = "BackupStorageUnavailable"
	// ReasonClusterUnhealthy: an operator, pool or node is not in a state to upgrade from.
	ReasonClusterUnhealthy Reason = "ClusterUnhealthy"
	// ReasonForeignController: the lifecycle-agent operator still runs on the cluster.
	ReasonForeignController Reason = "ForeignController"
	// ReasonNoSpace: a file system is too full.
	ReasonNoSpace Reason = "NoSpace"
	// ReasonImportFailed: the seed could not be unpacked or deployed.
	ReasonImportFailed Reason = "ImportFailed"
	// ReasonPrecacheFailed: a container image of the seed could not be pulled or verified.
	ReasonPrecacheFailed Reason = "PrecacheFailed"
)

// Reasons of a failed Upgrade, Rollback or cleanup.
const (
	// ReasonBackupFailed: a Velero Backup ended in anything but Completed.
	ReasonBackupFailed Reason = "BackupFailed"
	// ReasonPivotFailed: the new deployment could not be made ready for, or chosen at, the next boot.
	ReasonPivotFailed Reason = "PivotFailed"
	// ReasonCryptoFailed: the cluster's cryptography could not be regenerated.
	ReasonCryptoFailed Reason = "CryptoFailed"
	// ReasonReconfigureFailed: the site's identity could not be applied to the new root.
	ReasonReconfigureFailed Reason = "ReconfigureFailed"
	// ReasonManifestsFailed: an extra manifest was refused by the API server.
	ReasonManifestsFailed Reason = "ManifestsFailed"
	// ReasonRestoreFailed: a Velero Restore ended in anything but Completed.
	ReasonRestoreFailed Reason = "RestoreFailed"
	// ReasonConfirmFailed: the node could not confirm the new root.
	ReasonConfirmFailed Reason = "ConfirmFailed"
	// ReasonWatchdog: the new root was not confirmed within its budget.
	ReasonWatchdog Reason = "Watchdog"
	// ReasonUncontrolled: the node runs the old root although nobody asked it to.
	ReasonUncontrolled Reason = "Uncontrolled"
	// ReasonRollbackFailed: the old root could not be made the default.
	ReasonRollbackFailed Reason = "RollbackFailed"
	// ReasonCleanupFailed: a stateroot, backup or file could not be removed.
	ReasonCleanupFailed Reason = "CleanupFailed"
	// ReasonDeadline: a step did not end in the time it was given.
	ReasonDeadline Reason = "Deadline"
	// ReasonCommandRefused: the node refused a command: wrong deployment, too late, or an older attempt.
	ReasonCommandRefused Reason = "CommandRefused"
	// ReasonInternal: a defect in Reroot.
	ReasonInternal Reason = "Internal"
)

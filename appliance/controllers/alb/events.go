package alb

// Reasons of the Events that the controller writes, from its source "ingress" (ALB-FACTS 3.9).
const (
	eventSource = "ingress"

	reasonSync               = "Sync"
	reasonReconciled         = "SuccessfullyReconciled"
	reasonFailedBuildModel   = "FailedBuildModel"
	reasonFailedApplyModel   = "FailedApplyModel"
	reasonFailedAddFinalizer = "FailedAddFinalizer"
	reasonFailedRemove       = "FailedRemoveFinalizer"
	reasonFailedStatus       = "FailedUpdateStatus"
	// reasonNotSimulated is ours: the object asks for something that the real product does and this one does not yet.
	reasonNotSimulated = "NotSimulated"
	// reasonNoEffect is ours: the object asks for what an instance that exists cannot become, which the real controller
	// passes over in silence.
	reasonNoEffect = "NoEffect"
	// reasonMismatchHost tells of rules' hosts that spec.tls does not name.
	reasonMismatchHost = "MismatchHost"

	messageSync       = "Scheduled for sync"
	messageReconciled = "Successfully reconciled"
)

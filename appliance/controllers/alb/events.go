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

	messageSync       = "Scheduled for sync"
	messageReconciled = "Successfully reconciled"
)

package cloudsim

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// Error is a refusal, in the real API's words (ALB-FACTS 6.3).
type Error struct {
	Code      string
	Message   string
	Status    int // HTTP
	RequestID string
}

// Error is the text that the SDK shows and that the controller puts into Events.
func (e *Error) Error() string {
	return fmt.Sprintf("code: %d, %s request id: %s", e.Status, e.Message, e.RequestID)
}

// Code gives the code of a refusal, or "" for other errors.
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func refuse(status int, code, format string, args ...any) *Error {
	return &Error{Code: code, Status: status, Message: fmt.Sprintf(format, args...), RequestID: strings.ToUpper(uuid.NewString())}
}

func errIllegal(parameter string) *Error {
	return refuse(http.StatusBadRequest, "IllegalParam."+lastPart(parameter), "The param of %s is illegal", parameter)
}

func errIllegalSize(parameter string) *Error {
	return refuse(http.StatusBadRequest, "IllegalParamSize."+lastPart(parameter), "The param size of %s is illegal", parameter)
}

func errMissing(parameter string) *Error {
	return refuse(http.StatusBadRequest, "MissingParam."+lastPart(parameter), "The param of %s is missing", parameter)
}

func errDuplicated(parameter string) *Error {
	return refuse(http.StatusBadRequest, "DuplicatedParam."+lastPart(parameter), "The param of %s is duplicated", parameter)
}

func errNotFound(kind, id string) *Error {
	return refuse(http.StatusNotFound, "ResourceNotFound."+kind, "The specified resource %s is not found", id)
}

func errInUse(kind, id string) *Error {
	return refuse(http.StatusConflict, "ResourceInUse."+kind, "The specified resource %s is in use", id)
}

func errExists(kind, id string) *Error {
	return refuse(http.StatusConflict, "ResourceAlreadyExist."+kind, "The specified resource %s already exists", id)
}

func errStatus(kind, id string) *Error {
	return refuse(http.StatusConflict, "IncorrectStatus."+kind, "The status of %s does not support this operation", id)
}

func errNotAllowed(reason string) *Error {
	return refuse(http.StatusBadRequest, "OperationDenied."+reason, "The operation is not allowed because of %s", reason)
}

func errQuota(quota, resource string, usage, limit int) *Error {
	return refuse(http.StatusBadRequest, "QuotaExceeded."+quota, "The quota of %s is exceeded for resource %s, usage %d/%d", quota, resource, usage, limit)
}

func lastPart(parameter string) string {
	return parameter[strings.LastIndexByte(parameter, '.')+1:]
}

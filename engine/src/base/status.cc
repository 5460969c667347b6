#include "base/status.h"

#include <cerrno>
#include <cstring>

#include <absl/strings/string_view.h>

namespace firn::base {

absl::StatusCode CodeOfErrno(int error_number) {
  switch (error_number) {
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case EIO:
    case ENODATA:    // how a direct read tells of a medium error,
    case EREMOTEIO:  // a target's,
    case EBADMSG:
    case EILSEQ:  // or of protection information that does not match
    case EUCLEAN:
      return absl::StatusCode::kDataLoss;
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    case EOPNOTSUPP:
    case ENOSYS:
      return absl::StatusCode::kUnimplemented;
    case EWOULDBLOCK:
    case EBUSY:
    case ETXTBSY:
      return absl::StatusCode::kUnavailable;
    case ECANCELED:
      return absl::StatusCode::kCancelled;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status ErrnoStatus(int error_number, std::string_view context) {
  const char* name = strerrorname_np(error_number);
  std::string message(context);
  message += ": ";
  message += strerrordesc_np(error_number) ? strerrordesc_np(error_number) : "unknown error";
  message += " (";
  message += name ? name : std::to_string(error_number);
  message += ")";
  return MakeStatus(CodeOfErrno(error_number), message);
}

absl::Status MakeStatus(absl::StatusCode code, std::string_view message) {
  return absl::Status(code, absl::string_view(message.data(), message.size()));
}

}  // namespace firn::base

// errno in the words of absl::Status.
#include "base/status.h"

#include <catch2/catch.hpp>

#include <cerrno>

namespace firn::testing {

TEST_CASE("a medium that cannot be read is DataLoss, whichever errno the kernel has for it") {
  // The page cache says EIO; a direct read passes on what the block layer says.
  for (const int number : {EIO, ENODATA, EREMOTEIO, EBADMSG, EILSEQ, EUCLEAN}) {
    const absl::Status status = base::ErrnoStatus(number, "read log/0000000001.seg at 4096");
    INFO(status.ToString());
    CHECK(status.code() == absl::StatusCode::kDataLoss);
    CHECK(status.message().find("log/0000000001.seg at 4096: ") != absl::string_view::npos);
  }
}

TEST_CASE("a full disk, used-up limits and missing permissions are told apart from a broken disk") {
  for (const int number : {ENOSPC, EDQUOT, EFBIG, EMFILE, ENFILE, ENOMEM}) {
    CHECK(base::CodeOfErrno(number) == absl::StatusCode::kResourceExhausted);
  }
  for (const int number : {EACCES, EPERM, EROFS})
    CHECK(base::CodeOfErrno(number) == absl::StatusCode::kPermissionDenied);
  CHECK(base::CodeOfErrno(ENOENT) == absl::StatusCode::kNotFound);
}

}  // namespace firn::testing

// A file system of one file, "disk": a disk image in memory with a volatile write cache (volatile_disk.h). FUSE brings
// it what a loop device on the file does: writes, and an fsync for every flush that the device is asked for.
//
// usage: firn_power_disk FOLDER BYTES
//
// It takes commands on standard input, one a line, and answers each with a line "ok ..." on standard output. Once the
// file is there it says "ready"; at a cut it says "cut LOST TORN KEPT", before any request has failed of it.
//
//   cut SEED LOST% TORN%               cut the power now
//   arm REQUESTS SEED LOST% TORN% 0    cut it in the middle of the request after so many writes and flushes
//   arm REQUESTS SEED LOST% TORN% 1    cut it in the middle of the first flush after so many
//   on                                 once nobody has the file open any more: bring the power back
//   lie                                answer flushes from now on, and do nothing
//   counts                             "ok WRITES FLUSHES": so many there have been
//
// It ends with standard input; whoever still uses the file gets errors then. Nothing ever waits for it in vain.
#define FUSE_USE_VERSION 35
#include <fuse3/fuse.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>

#include "powercut/volatile_disk.h"

namespace firn::test {
namespace {

constexpr const char* kFile = "/disk";

// How many have the file open.
class Openers {
 public:
  void Add(int count) {
    const std::lock_guard lock(mutex_);
    count_ += count;
    changed_.notify_all();
  }
  // Whether there is nobody within a time that is longer than the kernel ever takes to let a file go.
  bool AwaitNone() {
    constexpr std::chrono::seconds kLongest(20);
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLongest, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

// Whole lines, from whichever thread.
void Say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) ::_exit(1);
}

struct Server {
  explicit Server(uint64_t bytes)
      : disk(bytes, [](const VolatileDisk::CutReport& report) {
          Say("cut " + std::to_string(report.lost) + " " + std::to_string(report.torn) + " " +
              std::to_string(report.kept));
        }) {}
  VolatileDisk disk;
  Openers openers;
};

Server* TheServer() { return static_cast<Server*>(fuse_get_context()->private_data); }

void* OnInit(fuse_conn_info*, fuse_config* config) {
  config->direct_io = 1;  // no page of it is cached above the disk
  config->nullpath_ok = 1;
  return TheServer();
}

int OnGetAttributes(const char* path, struct stat* info, fuse_file_info*) {
  *info = {};
  // Without a path: the open file.
  if (path == nullptr || std::strcmp(path, kFile) == 0) {
    info->st_mode = S_IFREG | 0600;
    info->st_nlink = 1;
    info->st_size = static_cast<off_t>(TheServer()->disk.bytes());
    return 0;
  }
  if (std::strcmp(path, "/") != 0) return -ENOENT;
  info->st_mode = S_IFDIR | 0700;
  info->st_nlink = 2;
  return 0;
}

int OnReadFolder(const char*, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*, fuse_readdir_flags) {
  fill(buffer, kFile + 1, nullptr, 0, fuse_fill_dir_flags(0));
  return 0;
}

int OnOpen(const char* path, fuse_file_info*) {
  if (std::strcmp(path, kFile) != 0) return -ENOENT;
  TheServer()->openers.Add(1);
  return 0;
}

int OnRelease(const char*, fuse_file_info*) {
  TheServer()->openers.Add(-1);
  return 0;
}

int OnRead(const char*, char* out, size_t bytes, off_t offset, fuse_file_info*) {
  const uint64_t end = TheServer()->disk.bytes();
  bytes = std::min<uint64_t>(bytes, end - std::min<uint64_t>(end, static_cast<uint64_t>(offset)));
  const int error =
      TheServer()->disk.Read(static_cast<uint64_t>(offset), std::as_writable_bytes(std::span(out, bytes)));
  return error == 0 ? static_cast<int>(bytes) : -error;
}

int OnWrite(const char*, const char* data, size_t bytes, off_t offset, fuse_file_info*) {
  const int error = TheServer()->disk.Write(static_cast<uint64_t>(offset), std::as_bytes(std::span(data, bytes)));
  return error == 0 ? static_cast<int>(bytes) : -error;
}

int OnSync(const char*, int, fuse_file_info*) { return -TheServer()->disk.Flush(); }

void Obey(Server& server, std::istringstream words) {
  std::string command;
  words >> command;
  VolatileDisk::CutRule rule;
  uint64_t requests = 0;
  if (command == "arm") words >> requests;
  if (command == "arm" || command == "cut") words >> rule.seed >> rule.lost_percent >> rule.torn_percent;
  if (command == "arm") words >> rule.at_flush;
  if (words.fail()) return Say("no: not so many numbers");
  if (command == "arm") {
    server.disk.CutAfter(requests, rule);
  } else if (command == "cut") {
    server.disk.Cut(rule);
  } else if (command == "on") {
    if (!server.openers.AwaitNone()) return Say("no: the file is still open");
    server.disk.PowerOn();
  } else if (command == "lie") {
    server.disk.set_ignores_flushes(true);
  } else if (command == "counts") {
    const VolatileDisk::Counts counts = server.disk.counts();
    return Say("ok " + std::to_string(counts.writes) + " " + std::to_string(counts.flushes));
  } else {
    return Say("no: there is no command '" + command + "'");
  }
  Say("ok");
}

int Serve(const std::string& folder, uint64_t bytes) {
  Server server(bytes);
  fuse_operations operations = {};
  operations.init = OnInit;
  operations.getattr = OnGetAttributes;
  operations.readdir = OnReadFolder;
  operations.open = OnOpen;
  operations.release = OnRelease;
  operations.read = OnRead;
  operations.write = OnWrite;
  operations.fsync = OnSync;
  char name[] = "firn_power_disk";
  char* arguments[] = {name, nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments);
  fuse* session = fuse_new(&args, &operations, sizeof(operations), &server);
  if (session == nullptr || fuse_mount(session, folder.c_str()) != 0) {
    std::fprintf(stderr, "firn_power_disk: FUSE cannot be mounted at %s: %s\n", folder.c_str(), std::strerror(errno));
    return 1;
  }
  std::thread([&server, folder] {
    for (std::string line; std::getline(std::cin, line);) Obey(server, std::istringstream(line));
    ::umount2(folder.c_str(), MNT_DETACH);
    // With this process the connection ends, and with it whatever still waits for an answer.
    ::_exit(0);
  }).detach();
  Say("ready");
  fuse_loop(session);
  ::_exit(0);
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) {
  const uint64_t bytes = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (bytes == 0) {
    std::fprintf(stderr, "usage: firn_power_disk FOLDER BYTES\n");
    return 2;
  }
  return firn::test::Serve(argv[1], bytes);
}

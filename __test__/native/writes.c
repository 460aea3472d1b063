// Preloaded into a process under test: plays Linux AIO itself, slowly, out of order or badly, or not at all, and makes the disk slow. Proof of
// what it did are its lines in the record.
//
// FORELOG_WRITES_DIR     the directory; calls on other files pass untouched
// FORELOG_WRITES_RECORD  the record, one line per event:
//                        submitted     a write was submitted
//                        again, short  one was completed with EAGAIN, or stopped early
//                        overtook      one was complete before an earlier one
//                        changed       its memory was not the same at its completion: nothing may do that
//                        blocked CALL  the main thread made a call that waits for the disk
// FORELOG_WRITES_MODE    `played`: completions come after the delay; `bad`: they come in any order, and of three one has EAGAIN and one is
//                        short; `no-setup`: there is no context to be had, nor an io_uring; `no-submit`: every submission is refused
// FORELOG_WRITES_DELAY   a file that holds the delay in milliseconds, from when it exists on, for completions and for every call that waits
//                        for the disk

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct write {
  struct write *next;
  struct iocb block;
  uint64_t object, sum;
  long number, result;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct write *complete;
static long submitted, next_in_order = 1;

static int is_mode(const char *mode) {
  const char *chosen = getenv("FORELOG_WRITES_MODE");
  return chosen && strcmp(chosen, mode) == 0;
}

static void tell(const char *event, const char *call) {
  const char *path = getenv("FORELOG_WRITES_RECORD");
  int saved = errno, fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
  if (fd >= 0) {
    char line[64];
    int length = snprintf(line, sizeof line, "%s%s%s\n", event, *call ? " " : "", call);
    if (write(fd, line, length) != length) abort();
    close(fd);
  }
  errno = saved;
}

static long delay_ms(void) {
  const char *path = getenv("FORELOG_WRITES_DELAY");
  char text[16] = "";
  int saved = errno, fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    if (read(fd, text, sizeof text - 1) < 0) text[0] = '\0';
    close(fd);
  }
  errno = saved;
  return atol(text);
}

static void pause_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  while (ms > 0 && nanosleep(&time, &time) < 0 && errno == EINTR);
}

static int is_below(int fd) {
  const char *dir = getenv("FORELOG_WRITES_DIR");
  char link[32], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = dir ? readlink(link, path, sizeof path - 1) : -1;
  return length >= 0 && (path[length] = '\0', strncmp(path, dir, strlen(dir)) == 0);
}

// Before a call that waits for the disk.
static void waits(int fd, const char *call) {
  if (!is_below(fd)) return;
  long ms = delay_ms();
  if (syscall(SYS_gettid) == getpid()) tell("blocked", call);
  pause_ms(ms);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  waits(fd, "pwrite64");
  return REAL(pwrite64)(fd, bytes, length, offset);
}

int fdatasync(int fd) {
  waits(fd, "fdatasync");
  return REAL(fdatasync)(fd);
}

int fsync(int fd) {
  waits(fd, "fsync");
  return REAL(fsync)(fd);
}

static uint64_t sum(const struct iocb *block) {
  const unsigned char *bytes = (const unsigned char *)(uintptr_t)block->aio_buf;
  uint64_t hash = 14695981039346656037u;
  for (uint64_t i = 0; i < block->aio_nbytes; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
  return hash;
}

static void *play(void *given) {
  struct write *w = given;
  const struct iocb *block = &w->block;
  // Whoever takes the completion frees the rest.
  int bad = is_mode("bad"), event = w->block.aio_resfd;
  unsigned seed = (unsigned)w->number * 2654435761u;
  pause_ms(delay_ms() + (bad ? rand_r(&seed) % 4 : 0));
  long length = block->aio_nbytes, n = bad ? w->number % 3 : 2;
  if (n == 0) tell("again", "");
  if (n == 1) tell("short", "");
  if (n == 1) length = length / 2 / 512 * 512;
  const void *bytes = (const void *)(uintptr_t)block->aio_buf;
  long result = n == 0 ? -EAGAIN : REAL(pwrite64)(block->aio_fildes, bytes, length, block->aio_offset);
  if (sum(block) != w->sum) tell("changed", "");
  w->result = result < 0 && n != 0 ? -errno : result;
  pthread_mutex_lock(&lock);
  if (w->number > next_in_order) tell("overtook", "");
  next_in_order++;
  w->next = complete, complete = w;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  uint64_t one = 1;
  if (write(event, &one, sizeof one) != sizeof one) abort();
  close(event);
  return NULL;
}

static long submit(struct iocb **list) {
  struct write *w = calloc(1, sizeof *w);
  if (!w) abort();
  w->block = *list[0], w->object = (uintptr_t)list[0], w->sum = sum(list[0]);
  // The descriptors of a call that is under way stay open for the kernel, whoever closes them.
  w->block.aio_fildes = dup(w->block.aio_fildes), w->block.aio_resfd = dup(w->block.aio_resfd);
  pthread_mutex_lock(&lock);
  w->number = ++submitted;
  pthread_mutex_unlock(&lock);
  tell("submitted", "");
  pthread_t thread;
  if (pthread_create(&thread, NULL, play, w) != 0) abort();
  pthread_detach(thread);
  return 1;
}

static long events(long least, long most, struct io_event *to, const struct timespec *timeout) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += timeout->tv_nsec;
  until.tv_sec += timeout->tv_sec + until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  long count = 0;
  pthread_mutex_lock(&lock);
  if (least > 0 && syscall(SYS_gettid) == getpid()) tell("blocked", "io_getevents");
  while (least > 0 && !complete && pthread_cond_timedwait(&changed, &lock, &until) == 0);
  for (; complete && count < most; count++) {
    struct write *w = complete;
    complete = w->next;
    to[count] = (struct io_event){.data = w->block.aio_data, .obj = w->object, .res = w->result};
    close(w->block.aio_fildes);
    free(w);
  }
  pthread_mutex_unlock(&lock);
  return count;
}

long syscall(long number, ...) {
  va_list rest;
  long a[6];
  va_start(rest, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
  va_end(rest);
  int played = is_mode("played") || is_mode("bad");
  if (number == SYS_io_setup && is_mode("no-setup")) return errno = ENOSYS, -1;
  if (number == SYS_io_uring_setup && is_mode("no-setup")) return errno = ENOSYS, -1;
  if (number == SYS_io_submit && is_mode("no-submit")) return tell("submitted", ""), errno = EINVAL, -1;
  if (number == SYS_io_setup && played) return *(aio_context_t *)a[1] = 1, 0;
  if (number == SYS_io_destroy && played) return 0;
  if (number == SYS_io_submit && played) return submit((struct iocb **)a[2]);
  if (number == SYS_io_getevents && played) return events(a[1], a[2], (struct io_event *)a[3], (struct timespec *)a[4]);
  return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

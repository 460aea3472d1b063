// Preloaded into a process under test: records what it asks of the disk below one directory, and fails what it is
// told to fail. Proof that a fault fired is its line in the record.
//
// FORELOG_FAULT_DIR    the directory; calls on other files pass untouched
// FORELOG_FAULT_LOG    the record, one line per call: BEGAN ENDED CALL FILE OFFSET LENGTH RESULT ERRNO RULE
// FORELOG_FAULT_RULES  a file with one rule per line: CALL PATTERN FROM TO ACTION. CALL is `direct` for a pwrite64 on a
//                      descriptor that writes past the page cache. The file is read again whenever it has
//                      changed, and then every rule counts from one again. The FROM-th to TO-th call of that name
//                      on a file that matches, as NAME or as NAME@OFFSET (the directory itself is `.`), gets the action:
//                      EIO, ENOSPC, EFBIG …  fails with that error without doing anything
//                      HALF                  pwrite64, direct: writes half of it and says so
//                      LOSE                  fdatasync: EIO, and what was written to the file since its last sync is
//                                            taken back, as a kernel does that marks unwritten pages clean
//                      CUT                   cuts an ext4 or XFS file system off from its device first, as a power failure
//                                            would; what the call then does is the kernel's answer

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_RULES 8
// EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are the same.
#define IOC_SHUTDOWN _IOR('X', 125, uint32_t)

enum action { NONE, FAIL, HALF, LOSE };

struct rule {
  char call[16], pattern[64], action[16];
  long from, to, seen;
};

// What a file held before a write that no sync has covered.
struct kept {
  struct kept *next;
  ino_t file;
  off_t offset;
  size_t length;
  char bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[MAX_RULES];
static int rule_count, record = -1;
static char rules_text[1024];
static struct kept *unsynced;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// Held for reading during every real change and sync, for writing by a cut: one that is under way then may lie.
static pthread_rwlock_t power = PTHREAD_RWLOCK_INITIALIZER;

#define POWERED(call)               \
  ({                                \
    pthread_rwlock_rdlock(&power);  \
    __typeof__(call) given = call;  \
    int error = errno;              \
    pthread_rwlock_unlock(&power);  \
    errno = error;                  \
    given;                          \
  })

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// The name below the directory, or NULL for a path elsewhere.
static const char *below(const char *path) {
  static const char *dir;
  if (!dir && !(dir = getenv("FORELOG_FAULT_DIR"))) return NULL;
  size_t length = strlen(dir);
  if (strncmp(path, dir, length) != 0) return NULL;
  if (path[length] == '\0') return ".";
  return path[length] == '/' ? path + length + 1 : NULL;
}

static const char *name_of(int fd, char path[PATH_MAX]) {
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return NULL;
  path[length] = '\0';
  return below(path);
}

static void read_rules(void) {
  char text[sizeof rules_text] = "";
  const char *path = getenv("FORELOG_FAULT_RULES");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    ssize_t length = read(fd, text, sizeof text - 1);
    text[length > 0 ? length : 0] = '\0';
    close(fd);
  }
  if (strcmp(text, rules_text) == 0) return;
  strcpy(rules_text, text);
  rule_count = 0;
  char *rest = text;
  for (char *line; rule_count < MAX_RULES && (line = strsep(&rest, "\n"));) {
    struct rule *r = &rules[rule_count];
    r->seen = 0;
    if (sscanf(line, "%15s %63s %ld %ld %15s", r->call, r->pattern, &r->from, &r->to, r->action) == 5) rule_count++;
  }
}

static void cut(void) {
  uint32_t without_the_journal = 2;
  pthread_rwlock_wrlock(&power);
  int fd = open(getenv("FORELOG_FAULT_DIR"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || ioctl(fd, IOC_SHUTDOWN, &without_the_journal) < 0) abort();
  close(fd);
  pthread_rwlock_unlock(&power);
}

static int error_of(const char *name) {
  static const struct {
    const char *name;
    int number;
  } errors[] = {{"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EFBIG", EFBIG},   {"EROFS", EROFS},   {"EACCES", EACCES},
                {"EPERM", EPERM},   {"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN}, {"ENOENT", ENOENT}, {"EXDEV", EXDEV}};
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (strcmp(errors[i].name, name) == 0) return errors[i].number;
  return EIO;
}

// What befalls this call; sets errno for FAIL and LOSE, and gives the number of the rule, from one.
static enum action verdict(const char *call, const char *name, off_t offset, int *number) {
  enum action action = NONE;
  char place[PATH_MAX + 32];
  snprintf(place, sizeof place, "%s@%lld", name, (long long)offset);
  pthread_mutex_lock(&lock);
  read_rules();
  for (int i = 0; i < rule_count; i++) {
    struct rule *r = &rules[i];
    if (strcmp(r->call, call) != 0 || (fnmatch(r->pattern, name, 0) != 0 && fnmatch(r->pattern, place, 0) != 0)) continue;
    r->seen++;
    if (action != NONE || r->seen < r->from || r->seen > r->to) continue;
    *number = i + 1;
    action = strcmp(r->action, "HALF") == 0 ? HALF : strcmp(r->action, "LOSE") == 0 ? LOSE : FAIL;
    if (strcmp(r->action, "CUT") == 0) cut(), action = NONE;
    errno = error_of(r->action);
  }
  pthread_mutex_unlock(&lock);
  return action;
}

static long tell(long long began, const char *call, const char *name, off_t offset, size_t length, long result, int number) {
  int error = result < 0 ? errno : 0, saved = errno;
  char line[512];
  int n = snprintf(line, sizeof line, "%lld %lld %s %s %lld %zu %ld %d %d\n", began, now(), call, name, (long long)offset, length,
                   result, error, number);
  pthread_mutex_lock(&lock);
  if (record < 0) record = open(getenv("FORELOG_FAULT_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  pthread_mutex_unlock(&lock);
  if (write(record, line, n) != n) abort();
  errno = saved;
  return result;
}

static ino_t inode(int fd) {
  struct stat s;
  return fstat(fd, &s) == 0 ? s.st_ino : 0;
}

// Newest first, so that taking back goes backwards in time.
static void keep(int fd, off_t offset, size_t length) {
  struct kept *k = malloc(sizeof *k + length);
  if (!k) abort();
  ssize_t n = REAL(pread64)(fd, k->bytes, length, offset);
  k->file = inode(fd), k->offset = offset, k->length = n > 0 ? n : 0;
  pthread_mutex_lock(&lock);
  k->next = unsynced, unsynced = k;
  pthread_mutex_unlock(&lock);
}

static void settle(int fd, int lose) {
  ino_t file = inode(fd);
  pthread_mutex_lock(&lock);
  for (struct kept **at = &unsynced; *at;) {
    struct kept *k = *at;
    if (k->file != file) {
      at = &k->next;
      continue;
    }
    if (lose && REAL(pwrite64)(fd, k->bytes, k->length, k->offset) != (ssize_t)k->length) abort();
    *at = k->next;
    free(k);
  }
  pthread_mutex_unlock(&lock);
}

static int loses(void) {
  pthread_mutex_lock(&lock);
  int found = strstr(rules_text, "LOSE") != NULL;
  pthread_mutex_unlock(&lock);
  return found;
}

// A write past the page cache is a call of its own here: durable when it returns, and nothing of it can be taken back.
static int is_direct(int fd) { return (fcntl(fd, F_GETFL) & (O_DIRECT | O_DSYNC)) == (O_DIRECT | O_DSYNC); }

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  char path[PATH_MAX];
  const char *name = name_of(fd, path);
  if (!name) return REAL(pwrite64)(fd, bytes, length, offset);
  long long began = now();
  int number = 0;
  const char *call = is_direct(fd) ? "direct" : "pwrite64";
  enum action action = verdict(call, name, offset, &number);
  if (action == FAIL) return tell(began, call, name, offset, length, -1, number);
  if (loses() && !is_direct(fd)) keep(fd, offset, length);
  ssize_t result = POWERED(REAL(pwrite64)(fd, bytes, action == HALF ? length / 2 : length, offset));
  return tell(began, call, name, offset, length, result, number);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t offset) {
  char path[PATH_MAX];
  const char *name = name_of(fd, path);
  if (!name) return REAL(pread64)(fd, bytes, length, offset);
  long long began = now();
  int number = 0;
  ssize_t result = verdict("pread64", name, offset, &number) == FAIL ? -1 : REAL(pread64)(fd, bytes, length, offset);
  return tell(began, "pread64", name, offset, length, result, number);
}

static int synced(int fd, const char *call, int (*real)(int)) {
  char path[PATH_MAX];
  const char *name = name_of(fd, path);
  if (!name) return real(fd);
  long long began = now();
  int number = 0;
  enum action action = verdict(call, name, 0, &number);
  int result = action == NONE ? POWERED(real(fd)) : -1;
  if (action != FAIL) settle(fd, action == LOSE);
  if (action == LOSE) errno = EIO;
  return tell(began, call, name, 0, 0, result, number);
}

int fdatasync(int fd) { return synced(fd, "fdatasync", REAL(fdatasync)); }

int fsync(int fd) { return synced(fd, "fsync", REAL(fsync)); }

int ftruncate64(int fd, off64_t length) {
  char path[PATH_MAX];
  const char *name = name_of(fd, path);
  if (!name) return REAL(ftruncate64)(fd, length);
  long long began = now();
  int number = 0;
  int result = verdict("ftruncate64", name, length, &number) == FAIL ? -1 : POWERED(REAL(ftruncate64)(fd, length));
  return tell(began, "ftruncate64", name, length, 0, result, number);
}

int rename(const char *from, const char *to) {
  const char *name = below(to);
  if (!name) return REAL(rename)(from, to);
  long long began = now();
  int number = 0;
  int result = verdict("rename", name, 0, &number) == FAIL ? -1 : POWERED(REAL(rename)(from, to));
  return tell(began, "rename", name, 0, 0, result, number);
}

// The same within the open directory, which is how the log does both.
static const char *within(int dir, const char *name) {
  char path[PATH_MAX];
  const char *open = name_of(dir, path);
  return open && strcmp(open, ".") == 0 ? name : NULL;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
  const char *name = within(to_dir, to);
  if (!name) return REAL(renameat)(from_dir, from, to_dir, to);
  long long began = now();
  int number = 0;
  int result = verdict("rename", name, 0, &number) == FAIL ? -1 : POWERED(REAL(renameat)(from_dir, from, to_dir, to));
  return tell(began, "rename", name, 0, 0, result, number);
}

int unlinkat(int dir, const char *path, int flags) {
  const char *name = within(dir, path);
  if (!name) return REAL(unlinkat)(dir, path, flags);
  long long began = now();
  int number = 0;
  int result = verdict("unlink", name, 0, &number) == FAIL ? -1 : POWERED(REAL(unlinkat)(dir, path, flags));
  return tell(began, "unlink", name, 0, 0, result, number);
}

int unlink(const char *path) {
  const char *name = below(path);
  if (!name) return REAL(unlink)(path);
  long long began = now();
  int number = 0;
  int result = verdict("unlink", name, 0, &number) == FAIL ? -1 : POWERED(REAL(unlink)(path));
  return tell(began, "unlink", name, 0, 0, result, number);
}

/* Counts the calls by which a process changes files below one folder, and at one of them kills the process or fails.

   Loaded by LD_PRELOAD. The environment's FAULT_FOLDER is the folder. Call fault_arm(at, kind) to begin counting anew:
   at the call number `at` (from 1) a kind of 0 does nothing, a negative one kills the process before the call, and a
   positive one is the errno that the call fails with. fault_trace(path) writes a line for each call: what, the inode,
   the path, and where it is renamed to. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long count, armed_at, armed_kind;
static FILE *trace;

void fault_arm(long at, long kind) {
    pthread_mutex_lock(&mutex);
    count = 0, armed_at = at, armed_kind = kind;
    pthread_mutex_unlock(&mutex);
}

long fault_count(void) { return count; }

void fault_trace(const char *path) {
    trace = path ? fopen(path, "w") : NULL;
}

static int is_watched(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0 && path[strlen(folder)] == '/';
}

static const char *path_of(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return buffer;
}

/* What happens at a call: 0 to go on, or the errno to fail with. */
static int meet(const char *what, const char *path, const char *other) {
    if (!is_watched(path)) return 0;
    pthread_mutex_lock(&mutex);
    int saved = errno, is_it = ++count == armed_at;
    if (trace) {
        struct stat status;
        long inode = lstat(path, &status) == 0 ? (long)status.st_ino : 0;
        fprintf(trace, "%s\t%ld\t%s\t%s\n", what, inode, path, other ? other : "");
        fflush(trace);
    }
    pthread_mutex_unlock(&mutex);
    errno = saved;
    if (!is_it || armed_kind == 0) return 0;
    if (armed_kind < 0) kill(getpid(), SIGKILL);
    return (int)armed_kind;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_OR(what, path, other, call)                     \
    do {                                                     \
        int fault = meet(what, path, other);                 \
        if (fault) { errno = fault; return -1; }             \
        return call;                                         \
    } while (0)

#define OPEN(name)                                                                  \
    int name(const char *path, int flags, ...) {                                    \
        va_list list; va_start(list, flags);                                        \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;     \
        va_end(list);                                                               \
        if (!(flags & O_CREAT)) return REAL(name)(path, flags, mode);               \
        FAIL_OR("create", path, NULL, REAL(name)(path, flags, mode));               \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                \
    int name(int folder, const char *path, int flags, ...) {                        \
        va_list list; va_start(list, flags);                                        \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;     \
        va_end(list);                                                               \
        if (!(flags & O_CREAT)) return REAL(name)(folder, path, flags, mode);       \
        FAIL_OR("create", path, NULL, REAL(name)(folder, path, flags, mode));       \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    FAIL_OR("write", path_of(fd, path), NULL, REAL(write)(fd, data, size));
}
int ftruncate(int fd, off_t size) {
    char path[PATH_MAX];
    FAIL_OR("truncate", path_of(fd, path), NULL, REAL(ftruncate)(fd, size));
}
int ftruncate64(int fd, off64_t size) {
    char path[PATH_MAX];
    FAIL_OR("truncate", path_of(fd, path), NULL, REAL(ftruncate64)(fd, size));
}
int fsync(int fd) {
    char path[PATH_MAX];
    struct stat status;
    const char *what = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) ? "flush folder" : "flush";
    const char *name = path_of(fd, path);
    if (name && S_ISDIR(status.st_mode)) strcat(path, "/");  /* the watched folder itself counts, too */
    FAIL_OR(what, name, NULL, REAL(fsync)(fd));
}
int close(int fd) {
    char path[PATH_MAX];
    const char *name = path_of(fd, path);
    int flags = name && is_watched(name) ? fcntl(fd, F_GETFL) : O_RDONLY;
    if ((flags & O_ACCMODE) == O_RDONLY) return REAL(close)(fd);
    FAIL_OR("close", name, NULL, REAL(close)(fd));
}
int rename(const char *from, const char *to) { FAIL_OR("rename", from, to, REAL(rename)(from, to)); }
int renameat(int f, const char *from, int t, const char *to) {
    FAIL_OR("rename", from, to, REAL(renameat)(f, from, t, to));
}
int unlink(const char *path) { FAIL_OR("remove", path, NULL, REAL(unlink)(path)); }
int unlinkat(int folder, const char *path, int flags) {
    FAIL_OR("remove", path, NULL, REAL(unlinkat)(folder, path, flags));
}

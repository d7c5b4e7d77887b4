/* Preloaded into every process of a command: counts the calls that change files, and at one of them kills the process
 * or lets the call fail. Only files below FAULT_ROOT count.
 *
 * FAULT_STATE is a file of 24 bytes, shared by all processes: the number of calls so far, the number of the call at which
 * something happens (0: none), and the error with which it fails (0: SIGKILL instead). Each call is a line in FAULT_LOG:
 * number, process, name, path.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct { _Atomic int64_t count; int64_t at, error; } *state;
static const char *root;
static int log_file = -1;

__attribute__((constructor)) static void begin(void) {
    const char *shared = getenv("FAULT_STATE"), *log = getenv("FAULT_LOG");
    root = getenv("FAULT_ROOT");
    if (!shared || !log || !root) return;
    int file = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (state == MAP_FAILED) state = NULL;
    log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* Return whether a call is to fail, with errno set; the process may end here. */
static int happens(const char *name, const char *path) {
    if (!state || strncmp(path, root, strlen(root))) return 0;
    int64_t number = atomic_fetch_add(&state->count, 1) + 1;
    char line[PATH_MAX + 100];
    int length = snprintf(line, sizeof line, "%lld %d %s %s\n", (long long)number, (int)getpid(), name, path);
    syscall(SYS_write, log_file, line, (size_t)length);
    if (number != state->at) return 0;
    if (!state->error) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = (int)state->error;
    return 1;
}

static int at_path(const char *name, int folder, const char *path) {
    char start[PATH_MAX] = "", full[2 * PATH_MAX], link[64];
    if (!state || !path) return 0;
    if (path[0] == '/') return happens(name, path);
    if (folder == AT_FDCWD) {
        if (!getcwd(start, sizeof start)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, start, sizeof start - 1);
        if (length < 0) return 0;
        start[length] = 0;
    }
    snprintf(full, sizeof full, "%s/%s", start, path);
    return happens(name, full);
}

static int at_file(const char *name, int file) {
    char link[64], path[PATH_MAX];
    if (!state) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return happens(name, path);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define WRITES (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if ((flags & WRITES) && at_path("open", AT_FDCWD, path)) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(int, #name, int, const char *, int, ...); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if ((flags & WRITES) && at_path("open", folder, path)) return -1; \
        return real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *bytes, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return at_file("write", file) ? -1 : real(file, bytes, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return at_file("write", file) ? -1 : real(file, parts, count);
}

#define PWRITE(name, offset_type) \
    ssize_t name(int file, const void *bytes, size_t size, offset_type offset) { \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type); \
        return at_file("write", file) ? -1 : real(file, bytes, size, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *place, size_t size, unsigned int flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned int);
    return at_file("write", to) ? -1 : real(from, start, to, place, size, flags);
}

#define SENDFILE(name, offset_type) \
    ssize_t name(int to, int from, offset_type *offset, size_t size) { \
        REAL(ssize_t, #name, int, int, offset_type *, size_t); \
        return at_file("write", to) ? -1 : real(to, from, offset, size); \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

#define OF_FILE(name) \
    int name(int file) { \
        REAL(int, #name, int); \
        return at_file(#name, file) ? -1 : real(file); \
    }
OF_FILE(fsync)
OF_FILE(fdatasync)

#define OF_LENGTH(name, first, place) \
    int name(first file, off_t length) { \
        REAL(int, #name, first, off_t); \
        return place ? -1 : real(file, length); \
    }
OF_LENGTH(ftruncate, int, at_file("truncate", file))
OF_LENGTH(ftruncate64, int, at_file("truncate", file))
OF_LENGTH(truncate, const char *, at_path("truncate", AT_FDCWD, file))
OF_LENGTH(truncate64, const char *, at_path("truncate", AT_FDCWD, file))

#define OF_PATH(name) \
    int name(const char *path) { \
        REAL(int, #name, const char *); \
        return at_path(#name, AT_FDCWD, path) ? -1 : real(path); \
    }
OF_PATH(unlink)
OF_PATH(rmdir)

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    return at_path("unlink", folder, path) ? -1 : real(folder, path, flags);
}

/* A folder that is there is made again by many callers, which changes nothing. */
int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return access(path, F_OK) && at_path("mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    return faccessat(folder, path, F_OK, 0) && at_path("mkdir", folder, path) ? -1 : real(folder, path, mode);
}

#define TWO_PATHS(name) \
    int name(const char *from, const char *to) { \
        REAL(int, #name, const char *, const char *); \
        return at_path(#name, AT_FDCWD, to) ? -1 : real(from, to); \
    }
TWO_PATHS(rename)
TWO_PATHS(link)
TWO_PATHS(symlink)

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    return at_path("rename", to_folder, to) ? -1 : real(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned int);
    return at_path("rename", to_folder, to) ? -1 : real(from_folder, from, to_folder, to, flags);
}

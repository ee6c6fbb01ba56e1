/* Notes what a process does to the files below one folder, in order, for tests/system/power_loss.py: LD_PRELOAD it.
 *
 * EDGE_SHIM_LOG: file that records are appended to. EDGE_SHIM_UNDER: the folder. EDGE_SHIM_KILL: the process dies instead of this sync
 * of one of those files, counted from 1. A record is a head, a path below the folder, and data; the call has succeeded by then.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 1024
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct __attribute__((packed)) head {
    char kind; /* o opened, c created and opened, w written, f cut or grown to, s synced, r renamed, u unlinked, m made a folder */
    int32_t pid, handle;
    int64_t offset;
    uint32_t path_bytes, data_bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record_to = -1;
static char under[PATH_MAX];
static size_t under_bytes;
static unsigned char is_ours[MOST_FILES];
static long syncs_left = -1;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("EDGE_SHIM_LOG"), *folder = getenv("EDGE_SHIM_UNDER"), *kill_at = getenv("EDGE_SHIM_KILL");
    if (!file || !folder || strlen(folder) >= sizeof under) return;
    strcpy(under, folder);
    under_bytes = strlen(under);
    if (kill_at) syncs_left = atol(kill_at);
    record_to = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

static const char *ours(const char *path) {
    if (record_to < 0 || !path || strncmp(path, under, under_bytes) || (path[under_bytes] && path[under_bytes] != '/')) return NULL;
    return path[under_bytes] ? path + under_bytes + 1 : path + under_bytes;
}

static void note(char kind, int handle, int64_t offset, const char *path, const void *data, size_t data_bytes) {
    struct head head = {kind, (int32_t)getpid(), handle, offset, (uint32_t)strlen(path), (uint32_t)data_bytes};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, head.path_bytes}, {(void *)data, data_bytes}};
    if (syscall(SYS_writev, record_to, parts, 3) != (long)(sizeof head + head.path_bytes + data_bytes)) abort();
}

static int is_noted(int handle) { return record_to >= 0 && handle >= 0 && handle < MOST_FILES && is_ours[handle]; }

static int opened(int folder, const char *path, int flags, mode_t mode) {
    const char *name = ours(path);
    pthread_mutex_lock(&lock);
    int was_there = !name || syscall(SYS_faccessat, folder, path, F_OK) == 0;
    int handle = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (handle >= 0 && handle < MOST_FILES) {
        is_ours[handle] = name != NULL;
        if (name) {
            note(was_there ? 'o' : 'c', handle, 0, name, "", 0);
            if (was_there && (flags & O_TRUNC)) note('f', handle, 0, "", "", 0);
        }
    }
    pthread_mutex_unlock(&lock);
    return handle;
}

#define OPENS(name, before, folder)                            \
    int name before {                                          \
        va_list rest;                                          \
        va_start(rest, flags);                                 \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                          \
        return opened(folder, path, flags, mode);              \
    }
OPENS(open, (const char *path, int flags, ...), AT_FDCWD)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD)
OPENS(openat, (int at, const char *path, int flags, ...), at)
OPENS(openat64, (int at, const char *path, int flags, ...), at)

static ssize_t written(int handle, const void *data, int64_t offset, ssize_t done) {
    if (done > 0) note('w', handle, offset, "", data, (size_t)done);
    return done;
}

ssize_t write(int handle, const void *data, size_t n) {
    if (!is_noted(handle)) return syscall(SYS_write, handle, data, n);
    pthread_mutex_lock(&lock);
    int64_t at = fcntl(handle, F_GETFL) & O_APPEND ? lseek(handle, 0, SEEK_END) : lseek(handle, 0, SEEK_CUR);
    ssize_t done = written(handle, data, at, syscall(SYS_write, handle, data, n));
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int handle, const void *data, size_t n, off64_t offset) {
    if (!is_noted(handle)) return syscall(SYS_pwrite64, handle, data, n, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = written(handle, data, offset, syscall(SYS_pwrite64, handle, data, n, offset));
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int handle, const void *data, size_t n, off_t offset) { return pwrite64(handle, data, n, offset); }

int ftruncate64(int handle, off64_t size) {
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, handle, size);
    if (!result && is_noted(handle)) note('f', handle, size, "", "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int handle, off_t size) { return ftruncate64(handle, size); }

static int synced(long call, int handle) {
    if (!is_noted(handle)) return (int)syscall(call, handle);
    pthread_mutex_lock(&lock);
    if (syncs_left > 0 && --syncs_left == 0) kill(getpid(), SIGKILL);
    int result = (int)syscall(call, handle);
    if (!result) note('s', handle, 0, "", "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int handle) { return synced(SYS_fsync, handle); }
int fdatasync(int handle) { return synced(SYS_fdatasync, handle); }

ssize_t writev(int handle, const struct iovec *parts, int n) {
    if (is_noted(handle)) abort(); /* what is not modelled must not happen unseen */
    return syscall(SYS_writev, handle, parts, n);
}

static int changed(char kind, const char *path, const char *to, int result) {
    const char *name = ours(path), *other = to ? ours(to) : "";
    if (!result && name && other) note(kind, -1, 0, name, other, strlen(other));
    return result;
}

int rename(const char *path, const char *to) {
    pthread_mutex_lock(&lock);
    int result = changed('r', path, to, REAL(rename)(path, to));
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int result = changed('u', path, NULL, REAL(unlink)(path));
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    pthread_mutex_lock(&lock);
    int result = changed('m', path, NULL, REAL(mkdir)(path, mode));
    pthread_mutex_unlock(&lock);
    return result;
}

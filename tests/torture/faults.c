/*
 * Faults at the n-th write-side call of a tree of processes; loaded before libc.
 *
 * All processes share one page, a file named by POOL_FAULTS: how many calls there were, which one
 * to hurt and how. A process without it is left alone. Built without headers and start files, so
 * that a compiler alone is enough.
 */
typedef unsigned long size_t;
typedef long ssize_t;
typedef long off_t;
typedef unsigned int mode_t;

extern void *dlsym(void *, const char *);
extern char *getenv(const char *);
extern int *__errno_location(void);
extern long syscall(long, ...);
extern void *mmap(void *, size_t, int, int, int, off_t);
extern int open(const char *, int, ...);
extern int close(int);
extern int kill(int, int);
extern int getpgrp(void);
extern ssize_t readlink(const char *, char *, size_t);
extern int snprintf(char *, size_t, const char *, ...);

#define NEXT ((void *)-1L)
#define LOGGED 4096

#define O_CREAT 0100
#define O_TMPFILE 020200000

enum { NOTHING, KILL, ERROR, SHORT };

/* Shared with tests/torture/faults.py. */
struct page {
    int armed;      /* calls count only while it is 1 */
    int count;      /* calls so far */
    int at;         /* the one to hurt, from 1; 0 for none */
    int how;
    int error;      /* errno for ERROR */
    int hit;        /* whether it came there */
    char calls[LOGGED]; /* the first letter code of each call */
};

static struct page *page;

/* Has this process, and what it forks, use a page. */
int faults_use(const char *path)
{
    int fd = open(path, 2 | 02000000);
    if (fd < 0)
        return -1;
    void *found = mmap(0, sizeof(struct page), 3, 1, fd, 0);
    close(fd);
    if (found == NEXT)
        return -1;
    page = found;
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POOL_FAULTS");
    if (path)
        faults_use(path);
}

/* Counts a call; returns what is to be done about it. */
static int due(char code, int may_be_short)
{
    if (!page || !page->armed)
        return NOTHING;
    int number = __sync_add_and_fetch(&page->count, 1);
    if (number <= LOGGED)
        page->calls[number - 1] = code;
    if (number != page->at)
        return NOTHING;
    if (page->how == SHORT && !may_be_short)
        return NOTHING;
    page->hit = 1;
    if (page->how == KILL)
        for (;;)
            kill(-getpgrp(), 9);
    if (page->how == ERROR)
        *__errno_location() = page->error;
    return page->how;
}

/* Tells whether a descriptor is a file; events, pipes and sockets are not the disk's. */
static int is_file(int fd)
{
    char link[32], target;
    int saved = *__errno_location();
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t found = readlink(link, &target, 1);
    *__errno_location() = saved;
    return found == 1 && target == '/';
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(NEXT, #name)

/* A call that either happens or not. */
#define WHOLE(code, type, name, params, args) \
    type name params { REAL(name); return due(code, 0) == ERROR ? -1 : real args; }

/* A call that may do half of what it was asked for; `count` is the size. */
#define PART(code, name, params, args) \
    ssize_t name params { \
        REAL(name); \
        int how = page && is_file(fd) ? due(code, count > 1) : NOTHING; \
        if (how == ERROR) return -1; \
        if (how == SHORT) count /= 2; \
        return real args; \
    }

PART('w', write, (int fd, const void *data, size_t count), (fd, data, count))
PART('p', pwrite, (int fd, const void *data, size_t count, off_t at), (fd, data, count, at))
PART('p', pwrite64, (int fd, const void *data, size_t count, off_t at), (fd, data, count, at))
PART('c', copy_file_range, (int in, off_t *from, int fd, off_t *to, size_t count, unsigned flags),
     (in, from, fd, to, count, flags))
#define FILES(code, type, name, params, args) \
    type name params { REAL(name); return is_file(fd) && due(code, 0) == ERROR ? -1 : real args; }

FILES('v', ssize_t, writev, (int fd, const void *parts, int count), (fd, parts, count))
FILES('v', ssize_t, pwritev, (int fd, const void *parts, int count, off_t at),
      (fd, parts, count, at))
FILES('v', ssize_t, pwritev64, (int fd, const void *parts, int count, off_t at),
      (fd, parts, count, at))
WHOLE('t', int, ftruncate, (int fd, off_t size), (fd, size))
WHOLE('t', int, ftruncate64, (int fd, off_t size), (fd, size))
WHOLE('a', int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
WHOLE('a', int, fallocate64, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
WHOLE('f', int, fsync, (int fd), (fd))
WHOLE('f', int, fdatasync, (int fd), (fd))
WHOLE('r', int, rename, (const char *from, const char *to), (from, to))
WHOLE('l', int, link, (const char *from, const char *to), (from, to))
WHOLE('l', int, symlink, (const char *to, const char *path), (to, path))
WHOLE('u', int, unlink, (const char *path), (path))
WHOLE('d', int, mkdir, (const char *path, mode_t mode), (path, mode))
WHOLE('d', int, rmdir, (const char *path), (path))
WHOLE('m', int, chmod, (const char *path, mode_t mode), (path, mode))
WHOLE('s', int, utimensat, (int at, const char *path, const void *times, int flags),
      (at, path, times, flags))
WHOLE('s', int, futimens, (int fd, const void *times), (fd, times))
WHOLE('m', int, fchmod, (int fd, mode_t mode), (fd, mode))

/* Files that are made; those that are only read do not count. */
int open64(const char *path, int flags, mode_t mode)
{
    REAL(open64);
    if ((flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) && due('o', 0) == ERROR)
        return -1;
    return real(path, flags, mode);
}

/* FICLONE and FICLONERANGE. */
int ioctl(int fd, unsigned long request, void *arg)
{
    static int (*real)(int, unsigned long, void *);
    if (!real)
        real = dlsym(NEXT, "ioctl");
    if ((request == 0x40049409UL || request == 0x4020940dUL) && due('i', 0) == ERROR)
        return -1;
    return real(fd, request, arg);
}

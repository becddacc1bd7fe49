/* A flock(2) that always succeeds and keeps nobody out; loaded before libc. */
int flock(int fd, int operation)
{
    (void)fd;
    (void)operation;
    return 0;
}

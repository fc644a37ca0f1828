/* Stands between a process and the C library (LD_PRELOAD): its wall clock is off by as many seconds as the file CLOCK_OFFSET says, a 64-bit number that may
   change at any time. The monotonic clocks stay true, as where somebody sets a machine's clock. It takes no memory and no lock: an allocator asks for the
   time before the program begins. Whoever waits until a moment of the wall clock (librdkafka does) waits until the moved clock says so. libfaketime, which does much more, does not live beside mimalloc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const int64_t zero = 0;
static _Atomic(const volatile int64_t *) place;

static int64_t offset(void) {
  const volatile int64_t *at = place;
  if (at == NULL) {
    const char *file = getenv("CLOCK_OFFSET");
    int handle = file == NULL ? -1 : open(file, O_RDONLY | O_CLOEXEC);
    void *mapped = handle < 0 ? MAP_FAILED : mmap(NULL, sizeof *at, PROT_READ, MAP_SHARED, handle, 0);
    if (handle >= 0) close(handle);
    if (file != NULL && mapped == MAP_FAILED) abort(); /* A clock that is not moved would make a test that tries nothing. */
    place = at = mapped == MAP_FAILED ? &zero : mapped;
  }
  return *at;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int failed = syscall(SYS_clock_gettime, clock, time);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += offset();
  return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  int failed = syscall(SYS_gettimeofday, time, zone);
  if (!failed) time->tv_sec += offset();
  return failed;
}

time_t time(time_t *into) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (into != NULL) *into = now.tv_sec;
  return now.tv_sec;
}

static int is_before(const struct timespec *one, const struct timespec *other) {
  return one->tv_sec < other->tv_sec || (one->tv_sec == other->tv_sec && one->tv_nsec < other->tv_nsec);
}

/* In slices, since the clock may leap meanwhile. Between two of them it wakes for nothing, which the standard allows. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
  static int (*_Atomic real)(cnd_t *restrict, mtx_t *restrict, const struct timespec *restrict);
  if (real == NULL) real = (int (*)(cnd_t *restrict, mtx_t *restrict, const struct timespec *restrict))dlsym(RTLD_NEXT, "cnd_timedwait");
  struct timespec now, slice, end = *until;
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &slice);
  if ((slice.tv_nsec += 100000000) >= 1000000000) slice.tv_sec++, slice.tv_nsec -= 1000000000;
  end.tv_sec -= offset();
  int ended = real(condition, mutex, is_before(&end, &slice) ? &end : &slice);
  clock_gettime(CLOCK_REALTIME, &now);
  return ended == thrd_timedout && is_before(&now, until) ? thrd_success : ended;
}

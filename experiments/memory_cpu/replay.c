// Makes the requests of a trace (tracer.c) and touches each page: replay TRACE [default|keep|hybrid].
//   gcc -O2 -o replay replay.c
// Prints steps, the peak of resident memory and of the blocks alive in GiB, page faults and processor time per step.
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

typedef struct { uint64_t address, size; } Event;
#define SLOTS (1u << 22)
#define STEP 1234577  // measure.py requests a block of this size after each step
#define WARM_UP 4
static uint64_t *keys, *sizes;
static void **values;

static unsigned start_of(uint64_t key) { return (unsigned)((key >> 4) * 2654435761u) & (SLOTS - 1); }
static unsigned find(uint64_t key) {
  unsigned at = start_of(key);
  while (keys[at] && keys[at] != key) at = (at + 1) & (SLOTS - 1);
  return at;
}
static void drop(unsigned at) {  // backward-shift deletion
  for (unsigned next = at;;) {
    next = (next + 1) & (SLOTS - 1);
    if (!keys[next]) break;
    unsigned home = start_of(keys[next]);
    if ((at <= next) ? (at < home && home <= next) : (at < home || home <= next)) continue;
    keys[at] = keys[next]; values[at] = values[next]; sizes[at] = sizes[next]; at = next;
  }
  keys[at] = 0;
}
static void *room(void) { return mmap(0, SLOTS * 8ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

int main(int count, char **words) {
  const char *setting = count > 2 ? words[2] : "default";
  if (!strcmp(setting, "keep")) mallopt(M_MMAP_MAX, 0);
  if (!strcmp(setting, "hybrid")) mallopt(M_MMAP_THRESHOLD, 32 << 20);
  if (strcmp(setting, "default")) mallopt(M_TRIM_THRESHOLD, 2147483647);
  int file = open(words[1], O_RDONLY);
  struct stat about;
  if (file < 0 || fstat(file, &about)) return 1;
  Event *events = mmap(0, about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  keys = room(), sizes = room(), values = room();
  uint64_t alive = 0, most = 0;
  long faults = 0, steps = 0;
  double begun = now();
  struct rusage use;
  for (size_t i = 0; i < about.st_size / sizeof(Event); i++) {
    uint64_t address = events[i].address, size = events[i].size;
    unsigned at = find(address);
    if (size) {
      void *block;
      if (posix_memalign(&block, 64, size)) return 1;
      for (size_t page = 0; page < size; page += 4096) ((volatile char *)block)[page] = 1;
      keys[at] = address; values[at] = block; sizes[at] = size;
      alive += size;
      if (alive > most) most = alive;
      if (size == STEP && ++steps == WARM_UP) { getrusage(RUSAGE_SELF, &use); faults = use.ru_minflt; begun = now(); }
    } else if (keys[at]) {
      free(values[at]);
      alive -= sizes[at];
      drop(at);
    }
  }
  getrusage(RUSAGE_SELF, &use);
  double timed = steps > WARM_UP ? steps - WARM_UP : 1;
  printf("%s: %ld steps, %.2f GiB at the peak, %.2f GiB alive, %.0f faults and %.3f s per step\n", setting, steps,
         use.ru_maxrss / 1048576.0, most / 1073741824.0, (use.ru_minflt - faults) / timed, (now() - begun) / timed);
}

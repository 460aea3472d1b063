// Cuts an ext4 or XFS file system off from its device, as a power failure would: what has not reached the disk never will.
// Arguments: a directory on it; 1 to write the journal out first, 2 not to.

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

// EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are the same.
#define IOC_SHUTDOWN _IOR('X', 125, uint32_t)

int main(int count, char **arguments) {
  if (count != 3) return 2;
  uint32_t flags = (uint32_t)atoi(arguments[2]);
  int fd = open(arguments[1], O_RDONLY | O_DIRECTORY);
  if (fd < 0 || ioctl(fd, IOC_SHUTDOWN, &flags) < 0) {
    perror(arguments[1]);
    return 1;
  }
  return 0;
}

// SPDX-License-Identifier: MIT
/*
 * uevents: prints the kernel's uevents, a line each with blanks between the variables,
 * until it is ended. Begins with the line "listening".
 */
#include <linux/netlink.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
	static char message[65536];
	ssize_t i, length;

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror("uevents");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("listening");
	while ((length = recv(fd, message, sizeof(message) - 1, 0)) > 0) {
		for (i = 0; i < length; i++) {
			if (!message[i])
				message[i] = ' ';
		}
		message[length] = '\0';
		puts(message);
	}
	return 0;
}

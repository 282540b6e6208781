/* A program without a loader, which no preload reaches.
 * built with: -static */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	void *block = malloc(100);

	free(block);
	return puts("done") < 0;
}

/* built with: -Wl,--version-script=tests/preload/objects/versions.map */
int old_answer(void);
int old_answer(void)
{
	return 1;
}

int new_answer(void);
int new_answer(void)
{
	return 2;
}

int withdrawn_answer(void);
int withdrawn_answer(void)
{
	return 3;
}

__asm__(".symver old_answer, answer@VERSION_1");
__asm__(".symver new_answer, answer@@VERSION_2");
__asm__(".symver withdrawn_answer, withdrawn@VERSION_1");

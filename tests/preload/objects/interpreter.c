/*
 * Enough of CPython to wake a dormant process: the functions by which it is found, and nothing by which it could be
 * walked. So it is refused, and the trace is made when it says that it is initialized.
 */
void *PyGILState_GetThisThreadState(void);
int Py_IsInitialized(void);

int initialized;

void *PyGILState_GetThisThreadState(void)
{
	return 0;
}

int Py_IsInitialized(void)
{
	return initialized;
}

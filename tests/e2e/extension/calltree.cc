// An extension module that calls three levels deep, one of them inlined, into another library and back into Python.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <cstddef>
#include <cstdint>

namespace calltree
{

static PyObject *callable;

static void call_back()
{
	PyObject *result = PyObject_CallObject(callable, nullptr);
	Py_XDECREF(result);
}

#include "../objects/tree.h"

// grow(bytes, address of the leaf, callable or None)
static PyObject *grow(PyObject *, PyObject *arguments)
{
	Py_ssize_t n;
	unsigned long long leaf;

	if (!PyArg_ParseTuple(arguments, "nKO", &n, &leaf, &callable))
		return nullptr;
	Tree tree(reinterpret_cast<leaf_function *>(static_cast<std::uintptr_t>(leaf)));
	return PyLong_FromVoidPtr(tree.branch(static_cast<std::size_t>(n), callable == Py_None ? nullptr : call_back));
}

static PyMethodDef methods[] = {{"grow", grow, METH_VARARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "calltree", nullptr, -1, methods, nullptr, nullptr, nullptr,
				 nullptr};

} // namespace calltree

PyMODINIT_FUNC PyInit_calltree()
{
	return PyModule_Create(&calltree::definition);
}

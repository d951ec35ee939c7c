/* An extension module that changes files as numpy, h5py or a database driver would: without asking Python. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static PyObject *hurt_unlink(PyObject *self, PyObject *args) {
    const char *path;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    return PyLong_FromLong(unlink(path));
}

static PyObject *hurt_write(PyObject *self, PyObject *args) {
    const char *path;
    long written = -1;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    int descriptor = open(path, O_WRONLY | O_TRUNC);
    if (descriptor >= 0) {
        written = (long)write(descriptor, "gone", 4);
        close(descriptor);
    }
    return PyLong_FromLong(written);
}

static PyMethodDef methods[] = {
    {"unlink", hurt_unlink, METH_VARARGS, "Remove a file."},
    {"write", hurt_write, METH_VARARGS, "Overwrite a file."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "hurt", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_hurt(void) {
    const char *path = getenv("VECTOR_REMOVE_AT_IMPORT");
    if (path != NULL) unlink(path);
    return PyModule_Create(&definition);
}

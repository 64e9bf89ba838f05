from .util import *
from .visualization import *
from .logger import *
